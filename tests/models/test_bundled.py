"""The encoders that come with oscine: by name without a network, checked like a download, and each with its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine import __version__
from oscine.cli import dispatch
from oscine.models import Encoder
from oscine.models.checkpoints import EMBEDDED, PUBLISHED, Published
from oscine.models.errors import OscineError
from oscine.models.zoo import create_model, fetch, fetch_weights
from oscine.models.zoo.fetch import FOLDER

ROWS = [row for row in PUBLISHED if row.state == EMBEDDED]
NAMES = [name for row in ROWS for name in (row.name, row.architecture)]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"asked the Hub for {arguments}")

    monkeypatch.setattr("oscine.models.hub.download.fetch", refuse)


def same(one: Encoder, other: Encoder) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_one_of_them_is_what_its_architecture_means() -> None:
    assert [row.name for row in ROWS] == ["bird_mae_tiny.esc10"]
    assert {path.name for path in FOLDER.iterdir()} == {row.name for row in ROWS}


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_by_name_with_its_provenance(name: str) -> None:
    encoder = create_model(name, pretrained=True)
    [row] = [row for row in ROWS if name in (row.name, row.architecture)]
    assert same(encoder, create_model(f"local-dir:{FOLDER / row.name}"))
    assert not encoder.training
    assert encoder.provenance == {
        "model": row.name,
        "repository": None,
        "revision": f"oscine {__version__}",
        "sha256": row.sha256,
    }
    assert not same(encoder, create_model(name)), "without `pretrained` a name means random weights"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_its_config_is_that_of_its_architecture(row: Published) -> None:
    config = json.loads((FOLDER / row.name / "config.json").read_text())["config"]
    assert config == create_model(row.architecture).config


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_its_weights_are_small_and_its_card_names_them(row: Published) -> None:
    assert (FOLDER / row.name / row.file).stat().st_size < 20e6
    card = (FOLDER / row.name / "README.md").read_text()
    assert f"`{row.sha256}`" in card
    assert row.licence in card
    assert row.data in card


def test_settings_can_be_overridden_where_the_weights_still_fit() -> None:
    assert create_model("bird_mae_tiny", pretrained=True, drop_path=0.1).config["drop_path"] == 0.1
    with pytest.raises(OscineError, match=r"does not fit BirdMAE: tensors 1 of another shape \(pos_embed"):
        create_model("bird_mae_tiny", pretrained=True, seconds=1.0)


def test_what_was_changed_or_lost_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FOLDER, tmp_path / "embedded")
    monkeypatch.setattr(fetch, "FOLDER", tmp_path / "embedded")
    file = tmp_path / "embedded" / ROWS[0].name / ROWS[0].file
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    words = rf"model\.safetensors has sha256 [0-9a-f]{{64}}, expected {ROWS[0].sha256}.*install oscine again$"
    with pytest.raises(OscineError, match=words):
        create_model("bird_mae_tiny", pretrained=True)
    file.unlink()
    with pytest.raises(OscineError, match=r"model\.safetensors has sha256 none, expected .*install oscine again$"):
        fetch_weights("bird_mae_tiny")


@pytest.mark.parametrize("name", NAMES)
def test_it_has_no_revision_of_its_own(name: str) -> None:
    with pytest.raises(OscineError, match=r"bird_mae_tiny.esc10 has no revision 'v1': it is part of oscine"):
        create_model(name, pretrained=True, revision="v1")


def test_downloading_it_tells_where_it_lies(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["download", "bird_mae_tiny"]) == 0
    out = capsys.readouterr().out
    assert f"{FOLDER / 'bird_mae_tiny.esc10' / 'model.safetensors'} (11.1 MB)" in out
    assert f"revision  oscine {__version__}\n" in out
    assert ROWS[0].sha256 is not None
    assert ROWS[0].sha256 in out


def test_converting_it_gives_its_folder_with_its_licence(tmp_path: Path) -> None:
    assert dispatch(["convert", "bird_mae_tiny", str(tmp_path / "out")]) == 0
    assert same(create_model(f"local-dir:{tmp_path / 'out'}"), create_model("bird_mae_tiny", pretrained=True))
    source = json.loads((tmp_path / "out/source.json").read_text())
    assert (source["model"], source["licence"], source["sha256"]) == (ROWS[0].name, "Apache-2.0", ROWS[0].sha256)


def test_a_folder_is_embedded_with_it(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    soundfile.write(tmp_path / "sound/one.flac", np.random.default_rng(0).uniform(-0.3, 0.3, 64_000), 32_000)
    out = tmp_path / "out.parquet"
    assert (
        dispatch(["embed", str(tmp_path / "sound"), "--model", "bird_mae_tiny", "--out", str(out), "--workers", "0"])
        == 0
    )
    made_by = json.loads(pq.read_schema(out).metadata[b"oscine"])
    assert (made_by["model"], made_by["weights"]) == (ROWS[0].name, ROWS[0].sha256)
