"""`oscine publish` of a probe: its encoder goes along by name or with it, and it says the same from the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from huggingface_hub import constants

from oscine.cli.hub.publish import main
from oscine.models.audio.load import load_audio, split_clips
from oscine.models.errors import OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from tests.forked import Program
from tests.hub_server import Hub, serving
from tests.probe.deploy.test_publish import CLASSES, TINY, TOKEN, files_of, fitted_on, same

GIVEN = ["--licence", "cc-by-4.0"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens[TOKEN] = "robin"
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A probe whose encoder lies in a folder."""
    torch.manual_seed(0)
    save_pretrained(create_model("bat_tiny", **TINY), tmp_path / "encoder")
    return save_probe(fitted_on(f"local-dir:{tmp_path / 'encoder'}", str(tmp_path / "garden")), tmp_path / "local")


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


def run_snippet(snippets: list[str]) -> None:
    exec(snippets[0], {})


def test_another_process_runs_the_cards_three_lines(hub, local, tmp_path, monkeypatch):
    main([str(local), "robin/birds", *GIVEN])
    soundfile.write(tmp_path / "recording.wav", np.random.default_rng(1).uniform(-0.3, 0.3, 30_000), 22_050)
    [snippet] = re.findall(r"```python\n(.*?)```", files_of(hub)["README.md"].decode(), re.DOTALL)
    assert len(snippet.splitlines()) == 3
    code = f"{snippet}\nimport torch; torch.save([said, heard.classes], 'said.pt')"
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
        assert Program([code], work=run_snippet).end().code == 0
    said, classes = torch.load(tmp_path / "said.pt")
    fitted = load_probe(local)
    clips = split_clips(load_audio(tmp_path / "recording.wav", fitted.encoder.sample_rate), fitted.samples)
    assert torch.equal(said, fitted(clips))
    assert classes == CLASSES


def write_scores(folder: Path, fitted: FittedProbe, probe: str = "LinearProbe", **known: object) -> Path:
    """A scores.json of a probe, as its run leaves it."""
    settings = {"name": "garden", "probe": probe, "table": str(folder / "labels.csv"), "fit": {"steps": 6}}
    content = {
        "task": "labels", "settings": settings, "weights": fitted.encoder.provenance, "classes": CLASSES,
        "parts": {"0": {"map": 0.7}, "1": {"map": 0.8}}, "mean": {"map": 0.75},
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(content | known))
    return folder / "scores.json"


def test_scores_come_with_their_intervals(hub, local, tmp_path):
    main([str(local), "robin/birds", *GIVEN, "--scores", str(write_scores(tmp_path, load_probe(local)))])
    files = files_of(hub)
    assert "| LinearProbe | labels | map | 75.0 | 11.5 to 100.0 | 70.0, 80.0 |" in files["README.md"].decode()
    assert json.loads(files["scores/garden.json"])["classes"] == CLASSES
    assert str(tmp_path).encode() not in files["scores/garden.json"]


@pytest.fixture
def run(local: Path) -> Path:
    """The folder of a run with a probe and its scores."""
    folder = local.parent / "run"
    folder.mkdir()
    local.rename(folder / "probe")
    write_scores(folder, load_probe(folder / "probe"))
    return folder


@pytest.mark.parametrize("given", [[], ["--scores", "run/scores.json=robin/garden:dawn:map"]])
def test_a_runs_probe_goes_with_its_scores_and_settings(hub, run, given, monkeypatch):
    monkeypatch.chdir(run.parent)
    for path, repository in ((run, "robin/birds"), (run / "probe", "robin/again")):
        main([str(path), repository, *GIVEN, *given])
        files = files_of(hub, repository)
        settings = {"name": "garden", "probe": "LinearProbe", "table": "labels.csv", "fit": {"steps": 6}}
        assert yaml.safe_load(files["settings.yaml"]) == settings
        card = files["README.md"].decode()
        assert f"```yaml\n{files['settings.yaml'].decode()}```" in card
        assert "| LinearProbe | labels | map | 75.0 | 11.5 to 100.0 | 70.0, 80.0 |" in card
        assert [path for path in files if path.startswith("scores/")] == ["scores/garden.json"]
        assert (".eval_results/oscine_garden.yaml" in files) == bool(given)


@pytest.mark.parametrize("other", [{"mean": {"map": 0.76}}, {"classes": ["robin", "wren"]}])
def test_a_run_whose_scores_are_of_another_probe_is_not_published(hub, run, other):
    write_scores(run, load_probe(run / "probe"), **other)
    with pytest.raises(OscineError, match=r"scores.json judges another probe than .*; run oscine probe again"):
        main([str(run), "robin/birds", *GIVEN])
    assert not hub.requests


def test_scores_of_the_same_encoder_and_another_probe_bring_no_settings(hub, local, tmp_path):
    path = write_scores(tmp_path, load_probe(local), mean={"map": 0.5})
    main([str(local), "robin/birds", *GIVEN, "--scores", str(path)])
    assert {"scores/garden.json", "settings.yaml"} & set(files_of(hub)) == {"scores/garden.json"}


def test_scores_of_another_probe_are_refused(hub, local, tmp_path):
    with pytest.raises(OscineError, match="judges a AttentiveProbe, this is a LinearProbe"):
        main(
            [
                str(local),
                "robin/birds",
                *GIVEN,
                "--scores",
                str(write_scores(tmp_path, load_probe(local), "AttentiveProbe")),
            ]
        )
    assert not hub.requests


def test_a_probe_covers_up_no_encoder_and_no_encoder_a_probe(hub, local, tmp_path):
    main([str(local), "robin/birds", *GIVEN])
    main([str(tmp_path / "encoder"), "robin/encoder", *GIVEN])
    with pytest.raises(OscineError, match=r"robin/encoder holds README.md, which is none of oscine's; name another"):
        main([str(local), "robin/encoder", *GIVEN])
    with pytest.raises(OscineError, match=r"robin/birds holds README.md, which is none of oscine's; name another"):
        main([str(tmp_path / "encoder"), "robin/birds", *GIVEN])


def test_a_dry_run_shows_the_card(hub, local, capsys):
    main([str(local), "robin/birds", *GIVEN, "--dry-run"])
    said = capsys.readouterr().out
    assert said.startswith("would publish robin/birds v1: private, licence cc-by-4.0\n")
    assert "encoder/model.safetensors" in said
    assert "## Classes" in said
    assert not hub.requests


@pytest.mark.parametrize("file", ["probe.safetensors", "encoder/model.safetensors"])
def test_what_does_not_load_strictly_is_not_published(hub, local, tmp_path, file):
    folder = save_probe(load_probe(local), tmp_path / "whole", with_encoder=True)
    (folder / file).write_bytes((folder / file).read_bytes()[:-50])
    with pytest.raises(OscineError, match="no intact safetensors file"):
        main([str(folder), "robin/birds", *GIVEN])
    assert not hub.requests
