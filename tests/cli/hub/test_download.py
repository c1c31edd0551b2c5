"""`oscine download` and the table of `oscine models`, with a Hub on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants
from safetensors.torch import save

from oscine.cli.console.command import call
from oscine.cli.encode.models import models
from oscine.cli.hub.download import download
from oscine.models import checkpoints
from oscine.models.checkpoints import PUBLISHED, Architecture, Published
from oscine.models.errors import Misuse, OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.tasks.kinds import TaskKind
from tests.hub_server import Fault, Hub, serving, sha256
from tests.published_stand_ins import BIRDS, LINEAR, add_stand_ins

main = partial(call, download)

TINY = {"dim": 48, "depth": 2, "heads": 4, "seconds": 1.0}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With the weights of a row of the zoo, and an encoder that oscine has published."""
    row = Published("wren_tiny.dawn", "a garden", "model.safetensors", "MIT", checkpoints.LAYOUT, "wren/weights")
    monkeypatch.setitem(checkpoints.ARCHITECTURES, "wren_tiny", Architecture("BAT", TINY, "none", 1, 16_000, 1.0))
    monkeypatch.setattr(checkpoints, "PUBLISHED", (*PUBLISHED, row))
    encoder = create_model("wren_tiny")
    save_pretrained(encoder, tmp_path / "saved")
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.add("wren/weights", {"model.safetensors": save(dict(encoder.state_dict()))})
        hub.add("robin/tiny", {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()})
        yield hub


def told(out: str) -> dict[str, dict[str, str]]:
    """What the command printed, by name."""
    blocks = re.findall(r"^(\S+)\n  file      (.*) \((.*) MB\)\n  revision  (.*)\n  sha256    (.*)$", out, re.MULTILINE)
    return {name: dict(zip(("file", "size", "revision", "sha256"), values)) for name, *values in blocks}


def test_weights_are_fetched_and_what_came_is_told(hub, capsys, monkeypatch):
    names = ["wren_tiny", "hf-hub:robin/tiny"]
    main(names)
    fetched = told(capsys.readouterr().out)
    assert list(fetched) == names
    for facts in fetched.values():
        content = Path(facts["file"]).read_bytes()
        assert facts["sha256"] == sha256(content)
        assert facts["size"] == f"{len(content) / 1e6:.1f}"
    assert fetched["wren_tiny"]["revision"] == hub.repositories["wren/weights"].refs["main"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    for name in names:
        assert create_model(name, pretrained=True).provenance["sha256"] == fetched[name]["sha256"]
    assert hub.requests == []


def test_a_probe_comes_with_its_encoder(hub, capsys, monkeypatch, tmp_path):
    encoder = create_model("hf-hub:robin/tiny")
    fitted = FittedProbe(LinearProbe(encoder, 2).eval(), encoder, {}, ["owl", "wren"], 0.5, TaskKind.MULTI)
    saved = save_probe(fitted, tmp_path / "probe")
    hub.add("robin/birds", {path.name: path.read_bytes() for path in saved.iterdir()})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "new"))
    main(["hf-hub:robin/birds"])
    fetched = told(capsys.readouterr().out)
    assert list(fetched) == ["hf-hub:robin/birds", "hf-hub:robin/tiny"]
    assert Path(fetched["hf-hub:robin/birds"]["file"]).name == "probe.safetensors"
    assert fetched["hf-hub:robin/tiny"]["revision"] == hub.repositories["robin/tiny"].refs["main"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    main(["hf-hub:robin/birds", f"hf-hub:robin/tiny@{encoder.provenance['revision']}"])
    assert load_probe("hf-hub:robin/birds").classes == ["owl", "wren"]
    with pytest.raises(OscineError, match=r"^config\.json of robin/tiny at main is not in the cache"):
        main(["hf-hub:robin/tiny"])


def test_weights_come_with_the_classes_of_their_classifier(hub, golden_convnext, capsys, monkeypatch):
    add_stand_ins(hub, golden_convnext, monkeypatch)
    main([f"{LINEAR}@main"])
    assert f"{LINEAR}, its classes\n" in capsys.readouterr().out
    main([LINEAR])
    said = capsys.readouterr().out
    assert f"{LINEAR}\n  file " in said
    assert f"{LINEAR}, its classes\n  file " in said
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_probe(LINEAR).classes == BIRDS


def test_a_repository_with_neither_encoder_nor_probe_is_said(hub):
    hub.add("robin/photos", {"wren.jpg": b"feathers"})
    with pytest.raises(OscineError, match=r"^robin/photos has no file config\.json at main"):
        main(["hf-hub:robin/photos"])


def test_what_is_there_is_told_without_being_fetched_again(hub, capsys):
    main(["wren_tiny.dawn"])
    first = told(capsys.readouterr().out)
    hub.requests.clear()
    main(["wren_tiny.dawn"])
    assert told(capsys.readouterr().out) == first
    assert "GET" not in {method for method, _ in hub.requests}


def test_whom_it_waits_for_is_said(hub, capsys):
    hub.faults.append(Fault("GET .*config.json", drip=0.005))
    main(["hf-hub:robin/tiny"])
    assert "oscine download: asking the Hub for hf-hub:robin/tiny ..." in capsys.readouterr().err.splitlines()


def test_a_damaged_download_is_refused(hub):
    hub.faults.append(Fault("GET /store/", flip=2000))
    with pytest.raises(OscineError, match=r"wren/weights/model\.safetensors has sha256 .* expected .*fetch it again"):
        main(["wren_tiny"])


def test_a_name_that_is_not_known_stops_the_command_before_anything_is_fetched(hub):
    with pytest.raises(OscineError, match=r"no model 'wren_tin'; did you mean 'wren_tiny'"):
        main(["wren_tiny", "wren_tin"])
    assert hub.requests == []


@pytest.mark.parametrize("arguments", [[], ["wren_tiny", "--loud"]])
def test_a_wrong_call_is_said_in_one_line(arguments):
    with pytest.raises(Misuse, match="oscine download --help") as caught:
        main(arguments)
    assert "\n" not in str(caught.value)


def test_help_tells_what_it_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert "oscine download NAME ..." in out
    assert "HF_HUB_OFFLINE=1" in out


def test_the_table_of_models_tells_where_weights_come_from(capsys):
    models()
    out = capsys.readouterr().out
    for row in PUBLISHED:
        learnt, place = (line.split() for line in out.splitlines() if line.split()[:1] == [row.name])
        assert learnt[1:] == ["yes" if row.supervised else "no", *row.data.split()]
        origin = row.repository or ("oscine itself, no download" if row.state == checkpoints.EMBEDDED else row.file)
        assert place[1] == row.state
        assert " ".join(place[2:]).removeprefix("a file: ") == origin
    assert max(len(line) for line in out.splitlines()) <= 100


@pytest.mark.parametrize(
    ("names", "pretrained", "name", "tags"),
    [
        ("beats*", True, "beats_base", "aves2_sl_all and 2 more"),
        ("*.xcl", False, "wav2vec2_base", "xcl"),
        ("*_base", False, "wav2vec2_base", "ls960 and 1 more"),
    ],
)
def test_an_encoders_row_tells_of_the_weights_that_are_listed(names, pretrained, name, tags, capsys):
    models(names, pretrained)
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name} ")]
    assert re.split("  +", row)[-1] == tags


def test_which_encoder_to_begin_with_is_said_where_nobody_knows_a_name(capsys):
    readme = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    names = re.findall(r"\w+\.\w+(?= |;|\.)", checkpoints.START_WITH)
    assert len(names) == 5
    assert {*names} <= {row.name for row in PUBLISHED}
    assert all(name in readme for name in names[:-1])
    for asked in ("*", "birds"):
        models(asked)
        assert " ".join(capsys.readouterr().out.split()).endswith(checkpoints.START_WITH)


def test_the_table_of_models_can_show_only_what_can_be_fetched(capsys):
    models("*e*_base", pretrained=True)
    named = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert {"eat_base", "eat_base.as2m", "bird_mae_base", "bird_mae_base.xcl"} <= named
    assert not named & {"audio_mae_base", "beats_base.as2m", "audio_mae_base.as2m", "bird_mae_large.xcl"}
