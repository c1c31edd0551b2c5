"""What a run ran on stays with its logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from oscine.models import create_model
from oscine.models.encoders.base.devices import device_name
from oscine.models.errors import OscineError
from oscine.pretrain import BirdMAEPretraining
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.run.record import HardwareInfo, read_hardware
from oscine.pretrain.run.run import LOGS, fit_recipe, make_trainer


def test_a_run_writes_down_what_it_ran_on(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    soundfile.write(tmp_path / "sound/1.flac", np.random.default_rng(0).uniform(-0.3, 0.3, 48_000), 16_000)
    encoder = create_model("bird_mae_tiny", dim=24, depth=1, heads=2)
    recipe = BirdMAEPretraining(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2, steps=1, warmup=0)
    trainer = make_trainer(
        recipe, tmp_path / "run", callbacks=[HardwareInfo()], accelerator="cpu", devices=1,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    fit_recipe(trainer, recipe, PretrainingData(tmp_path / "sound", batch_size=1, workers=0), tmp_path / "run")
    written = read_hardware(tmp_path / "run" / LOGS)
    assert written == {"device": device_name("cpu"), "devices": 1, "precision": "32-true"}


def test_the_newest_part_of_a_run_counts(tmp_path: Path) -> None:
    for version in (9, 10):
        (tmp_path / f"version_{version}").mkdir()
        facts = f'{{"device": "a", "devices": {version}, "precision": "32-true", "torch": "2"}}'
        (tmp_path / f"version_{version}/machine.json").write_text(facts)
    assert read_hardware(tmp_path) == {"device": "a", "devices": 10, "precision": "32-true"}


def test_a_run_without_it_says_nothing(tmp_path: Path) -> None:
    assert read_hardware(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_broken_one_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "version_0").mkdir()
    (tmp_path / "version_0/machine.json").write_text(content)
    with pytest.raises(OscineError, match=r"machine.json is (not what a run writes|no JSON)"):
        read_hardware(tmp_path)
