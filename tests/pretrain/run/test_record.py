"""The encoder of a run says what made it, and nobody takes another run's word for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from oscine.models import create_model
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import SOURCE, Origin, read_origin
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import SETTINGS
from oscine.models.hub.folder import save_pretrained
from oscine.pretrain.run.record import RECORD, Record, read_record, save_with_record


def tiny(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return create_model("bat_tiny", dim=24, depth=1, heads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the encoder of a run in tmp_path."""
    (tmp_path / SETTINGS).write_text("seed: 1\n")
    save_with_record(tiny(), tmp_path, tmp_path / "encoder", 7)
    return tmp_path / "encoder"


def test_steps_settings_and_weights_belong_together(tmp_path, folder):
    assert read_record(tmp_path, folder) == Record(7, file_hash(folder / "model.safetensors"), "seed: 1\n")


def test_whose_weights_the_run_began_with_lies_beside_its_encoder(tmp_path, folder):
    assert read_origin(folder) is None
    old = Origin("hf-hub:wren/old", "model.safetensors", 64 * "a", "mit", "wren/old", 40 * "b", fingerprint=64 * "c")
    (tmp_path / SOURCE).write_bytes(old.as_json())
    save_with_record(tiny(), tmp_path, folder, 8)
    assert read_origin(folder) == old._replace(trained=True)


def test_a_run_without_settings_has_a_record_as_well(tmp_path):
    save_with_record(tiny(), tmp_path, tmp_path / "encoder", 7)
    assert read_record(tmp_path, tmp_path / "encoder").settings is None


def test_other_weights_settings_and_nonsense_are_refused(tmp_path, folder):
    (tmp_path / SETTINGS).write_text("seed: 2\n")
    with pytest.raises(OscineError, match="gone on with other settings since its encoder was written at step 7"):
        read_record(tmp_path, folder)
    save_pretrained(tiny(1), folder)
    with pytest.raises(OscineError, match=r"run.json is not of the weights beside it; .*--resume"):
        read_record(tmp_path, folder)
    (folder / RECORD).write_text('{"step": 7}')
    with pytest.raises(OscineError, match=r"run.json lacks settings, sha256; "):
        read_record(tmp_path, folder)
    (folder / RECORD).unlink()
    with pytest.raises(OscineError, match=r"has no run.json, which says what made it; .*--resume"):
        read_record(tmp_path, folder)
