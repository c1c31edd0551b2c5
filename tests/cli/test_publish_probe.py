"""`oscine publish` of a probe: its encoder goes along by name or with it, and it says the same from the Hub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from oscine.cli.publish import main
from oscine.models.audio import load_audio, split_clips
from oscine.models.errors import OscineError
from oscine.models.hub import save_pretrained
from oscine.models.origin import SOURCE, Source
from oscine.models.publish import push_to_hub
from oscine.models.zoo import create_model
from oscine.probe.calibration import Scaling
from oscine.probe.fitted import FittedProbe
from oscine.probe.linear import LinearProbe
from oscine.probe.saved import load_probe, save_probe
from tests.hub_server import Fault, Hub, environment, serving

TINY = {"dim": 24, "depth": 1, "heads": 2, "seconds": 0.5}
TOKEN = "hf_a_secret_of_robin"
GIVEN = ["--licence", "cc-by-4.0"]
CLASSES = ["robin", "wren", "/m/015p6"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens[TOKEN] = "robin"
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def fitted_on(name: str, task: str = "garden") -> FittedProbe:
    """A probe on an encoder that is opened by its name."""
    encoder = create_model(name)
    torch.manual_seed(1)
    probe = LinearProbe(encoder, 3, pool="mean").eval()
    return FittedProbe(
        probe, encoder, {"pool": "mean"}, CLASSES, 0.5, False, Scaling(torch.tensor([2.0]), torch.tensor([0.5])),
        torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), {"task": task, "rows": 8, "judged": ["0", "1"]}, {"map": 0.75},
    )  # fmt: skip


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A probe whose encoder lies in a folder."""
    torch.manual_seed(0)
    save_pretrained(create_model("bat_tiny", **TINY), tmp_path / "encoder")
    return save_probe(fitted_on(f"local-dir:{tmp_path / 'encoder'}", str(tmp_path / "garden")), tmp_path / "local")


def files_of(hub: Hub, repository: str = "robin/birds") -> dict[str, bytes]:
    found = hub.repositories[repository]
    return found.commits[found.refs["v1"]]


def metadata(files: dict[str, bytes]) -> dict[str, object]:
    return yaml.safe_load(files["README.md"].decode().split("---\n")[1])


def same(one: FittedProbe, other: FittedProbe) -> bool:
    waveform = 0.1 * torch.randn(2, one.samples, generator=torch.Generator().manual_seed(1))
    return torch.equal(one(waveform), other(waveform)) and one.classes == other.classes


def test_a_probe_brings_an_encoder_along_that_is_on_no_hub(hub, local, tmp_path, capsys):
    main([str(local), "robin/birds", *GIVEN])
    files = files_of(hub)
    own = {"README.md", "probe.json", "probe.safetensors", "encoder/config.json", "encoder/model.safetensors"}
    assert set(files) == {".gitattributes", *own}
    for path, content in files.items():
        assert str(tmp_path).encode() not in content, path
    assert json.loads(files["probe.json"])["classes"] == CLASSES, "of which none is a path"
    loaded = load_probe("hf-hub:robin/birds")
    assert same(loaded, load_probe(local))
    said = capsys.readouterr().out
    commit = hub.repositories["robin/birds"].refs["v1"]
    assert f'load_probe("hf-hub:robin/birds@{commit}") loads it' in said
    assert "PUBLISHED" not in said


def test_a_probe_names_an_encoder_that_is_on_the_hub_by_its_commit(hub, tmp_path):
    torch.manual_seed(0)
    commit = push_to_hub(create_model("bat_tiny", **TINY).eval(), "robin/encoder", "mit")
    folder = save_probe(fitted_on("hf-hub:robin/encoder"), tmp_path / "named")
    hub.repositories["robin/encoder"].commit({"config.json": b"{}"})  # what is there later is another one
    main([str(folder), "robin/birds", *GIVEN])
    files = files_of(hub)
    assert set(files) == {".gitattributes", "README.md", "probe.json", "probe.safetensors"}
    known = json.loads(files["probe.json"])["encoder"]
    assert (known["model"], known["revision"], known["beside"]) == ("hf-hub:robin/encoder", commit, False)
    assert metadata(files)["base_model"] == "robin/encoder"
    assert same(load_probe("hf-hub:robin/birds@v1"), load_probe(folder))


def test_the_card_says_what_the_probe_is(hub, local):
    main([str(local), "robin/birds", *GIVEN, "--data", "robin/garden=CC0"])
    files = files_of(hub)
    told = metadata(files)
    assert (told["pipeline_tag"], told["library_name"], told["license"]) == (
        "audio-classification",
        "oscine",
        "cc-by-4.0",
    )
    assert {"linearprobe", "bat", "audio"} <= set(told["tags"])
    assert told["datasets"] == ["robin/garden"]
    card = files["README.md"].decode()
    assert "hears any of 3 classes in clips of 0.5 s: LinearProbe on a frozen BAT" in card
    assert "`robin`, `wren`, `/m/015p6`" in card
    assert "| map | 75.0 |" in card
    assert "| fitted on | 8 rows of garden |" in card
    assert "| probabilities | sigmoid, calibrated |" in card
    assert "None" not in card


def test_another_process_runs_the_cards_three_lines(hub, local, tmp_path):
    main([str(local), "robin/birds", *GIVEN])
    soundfile.write(tmp_path / "recording.wav", np.random.default_rng(1).uniform(-0.3, 0.3, 30_000), 22_050)
    [snippet] = re.findall(r"```python\n(.*?)```", files_of(hub)["README.md"].decode(), re.DOTALL)
    assert len(snippet.splitlines()) == 3
    code = f"{snippet}\nimport torch; torch.save([said, heard.classes], 'said.pt')"
    settings = os.environ | environment(hub, tmp_path / "empty")
    subprocess.run([sys.executable, "-c", code], env=settings, cwd=tmp_path, check=True, timeout=300)
    said, classes = torch.load(tmp_path / "said.pt")
    fitted = load_probe(local)
    clips = split_clips(load_audio(tmp_path / "recording.wav", fitted.encoder.sample_rate), fitted.samples)
    assert torch.equal(said, fitted(clips))
    assert classes == CLASSES


def scores(folder: Path, fitted: FittedProbe, probe: str = "LinearProbe") -> str:
    parts = {"0": {"map": 0.7}, "1": {"map": 0.8}}
    settings = {"name": "garden", "probe": probe, "table": str(folder / "labels.csv")}
    known = {"task": "labels", "settings": settings, "weights": fitted.encoder.provenance}
    content = known | {"classes": CLASSES, "parts": parts}
    (folder / "scores.json").write_text(json.dumps(content | {"mean": {"map": 0.75}}))
    return str(folder / "scores.json")


def test_scores_come_with_their_intervals(hub, local, tmp_path):
    main([str(local), "robin/birds", *GIVEN, "--scores", scores(tmp_path, load_probe(local))])
    files = files_of(hub)
    assert "| LinearProbe | labels | map | 75.0 | 11.5 to 100.0 | 70.0, 80.0 |" in files["README.md"].decode()
    assert json.loads(files["scores/garden.json"])["classes"] == CLASSES
    assert str(tmp_path).encode() not in files["scores/garden.json"]


def test_scores_of_another_probe_are_refused(hub, local, tmp_path):
    with pytest.raises(OscineError, match="judges a AttentiveProbe, this is a LinearProbe"):
        main([str(local), "robin/birds", *GIVEN, "--scores", scores(tmp_path, load_probe(local), "AttentiveProbe")])
    assert not hub.requests


def test_the_encoders_licence_goes_along(hub, local, tmp_path):
    source = Source(
        "hf-hub:wren/old", "model.safetensors", 64 * "a", "cc-by-nc-4.0", "wren/old", 40 * "b", trained=True
    )
    (tmp_path / "encoder" / SOURCE).write_bytes(source.as_json())
    with pytest.raises(OscineError, match=r"licence 'cc-by-4.0', but hf-hub:wren/old is under cc-by-nc-4.0"):
        main([str(local), "robin/birds", *GIVEN])
    main([str(local), "robin/birds"])
    told = metadata(files_of(hub))
    assert (told["license"], told["base_model"]) == ("cc-by-nc-4.0", "wren/old")


@pytest.mark.parametrize("file", ["probe.safetensors", "encoder/model.safetensors"])
def test_what_does_not_load_strictly_is_not_published(hub, local, tmp_path, file):
    folder = save_probe(load_probe(local), tmp_path / "whole", with_encoder=True)
    (folder / file).write_bytes((folder / file).read_bytes()[:-50])
    with pytest.raises(OscineError, match="no intact safetensors file"):
        main([str(folder), "robin/birds", *GIVEN])
    assert not hub.requests


def test_a_probe_that_gives_no_numbers_is_not_published(hub, local, tmp_path):
    fitted = load_probe(local)
    torch.nn.init.constant_(fitted.probe.fc.bias, torch.nan)
    with pytest.raises(OscineError, match="probabilities are not finite"):
        main([str(save_probe(fitted, tmp_path / "broken")), "robin/birds", *GIVEN])
    assert not hub.requests


def test_a_probe_covers_up_no_encoder_and_no_encoder_a_probe(hub, local, tmp_path):
    main([str(local), "robin/birds", *GIVEN])
    main([str(tmp_path / "encoder"), "robin/encoder", *GIVEN])
    with pytest.raises(OscineError, match=r"robin/encoder holds README.md, which is none of oscine's; name another"):
        main([str(local), "robin/encoder", *GIVEN])
    with pytest.raises(OscineError, match=r"robin/birds holds README.md, which is none of oscine's; name another"):
        main([str(tmp_path / "encoder"), "robin/birds", *GIVEN])


def test_an_encoder_that_is_not_needed_any_more_goes(hub, local, tmp_path):
    main([str(local), "robin/birds", *GIVEN])
    push_to_hub(create_model(f"local-dir:{tmp_path / 'encoder'}"), "robin/encoder", "mit")
    folder = save_probe(fitted_on("hf-hub:robin/encoder"), tmp_path / "named")
    main([str(folder), "robin/birds", *GIVEN, "--tag", "v2"])
    found = hub.repositories["robin/birds"]
    assert not [path for path in found.commits[found.refs["v2"]] if path.startswith("encoder/")]
    assert same(load_probe("hf-hub:robin/birds@v1"), load_probe("hf-hub:robin/birds@v2"))


def test_a_flipped_byte_is_noticed_before_a_tag_and_when_it_is_loaded(hub, local):
    hub.faults.append(Fault("GET /store/", flip=60))
    with pytest.raises(OscineError, match=r"came back from robin/birds with sha256 .*; nothing is tagged"):
        main([str(local), "robin/birds", *GIVEN])
    main([str(local), "robin/birds", *GIVEN])
    hub.faults.append(Fault("GET /store/", flip=60))
    with pytest.raises(OscineError, match=r"has sha256 .*, expected .*: it was damaged or changed"):
        load_probe("hf-hub:robin/birds")


def test_a_dry_run_shows_the_card(hub, local, capsys):
    main([str(local), "robin/birds", *GIVEN, "--dry-run"])
    said = capsys.readouterr().out
    assert said.startswith("would publish robin/birds v1: private, licence cc-by-4.0\n")
    assert "encoder/model.safetensors" in said
    assert "## Classes" in said
    assert not hub.requests


def test_what_a_stranger_published_is_read_and_never_run(hub, local):
    main([str(local), "robin/birds", *GIVEN])
    facts = json.loads(files_of(hub)["probe.json"])
    for wrong, words in (
        ({"probe": "os.system"}, "unknown probe 'os.system'"),
        ({"head": {"pool": ["mean"]}}, "LinearProbe cannot have pool"),
        ({"oscine_version": "99.0"}, "update oscine"),
        ({"classes": CLASSES[:2]}, "of another shape"),
    ):
        hub.repositories["robin/birds"].commit({"probe.json": json.dumps(facts | wrong).encode()})
        with pytest.raises(OscineError, match=re.escape(words)):
            load_probe("hf-hub:robin/birds")


def test_frame_wise_probes_are_published_as_well(hub, tmp_path):
    torch.manual_seed(0)
    save_pretrained(create_model("bat_tiny", **TINY), tmp_path / "encoder")
    clip = fitted_on(f"local-dir:{tmp_path / 'encoder'}")
    probe = LinearProbe(clip.encoder, 3, pool="frames").eval()
    frames = replace(clip, probe=probe, head={"pool": "frames"}, scaling=None, thresholds=None)
    main([str(save_probe(frames, tmp_path / "frames")), "robin/frames", *GIVEN])
    assert same(load_probe("hf-hub:robin/frames"), frames)
    assert "| thresholds | none were chosen |" in files_of(hub, "robin/frames")["README.md"].decode()
