"""A run is resumed where it stopped, also after SIGKILL, and ends with the very weights of one that never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from oscine.cli import dispatch
from oscine.models import create_model
from oscine.pretrain.run import WholeStates, loss_curve

TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.batch_size 2 --data.workers 1 --log_every 1 --save_every 3
""".split()
RECIPES = {
    "bat_tiny": "--encoder.seconds 1.0 --recipe.views 2 --recipe.decoder_depth 1 --recipe.decoder_heads 2".split(),
    "bird_mae_tiny": "--recipe.decoder_dim 16 --recipe.decoder_depth 1 --recipe.decoder_heads 2".split(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / f"{number}.flac", rng.uniform(-0.3, 0.3, 48_000), 16_000)
    return folder


def arguments(config: str, name: str, folder: Path, runs: Path, steps: int, *more: str) -> list[str]:
    given = ["--name", name, "--runs", str(runs), "--data.recordings", str(folder)]
    return ["pretrain", config, *given, *TINY, *RECIPES[config], f"--recipe.steps={steps}", "--recipe.warmup=2", *more]


def weights(runs: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(runs / name / "encoder" / "model.safetensors")


@pytest.mark.parametrize("config", RECIPES)
def test_a_killed_and_resumed_run_ends_with_the_same_bits(config: str, folder: Path, tmp_path: Path) -> None:
    assert dispatch(arguments(config, "whole", folder, tmp_path, 60)) == 0
    state = tmp_path / "killed" / "states" / "last.ckpt"
    command = [sys.executable, "-m", "oscine", *arguments(config, "killed", folder, tmp_path, 60)]
    # As many threads as here: sums in another order end in other bits.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, env=environment)
    for _ in range(1200):
        if state.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert state.exists()
    assert not (tmp_path / "killed" / "encoder").exists(), "killed while it ran"
    assert dispatch(arguments(config, "killed", folder, tmp_path, 60, "--resume")) == 0
    whole, resumed = weights(tmp_path, "whole"), weights(tmp_path, "killed")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    curves = [loss_curve(tmp_path / name)["loss"] for name in ("whole", "killed")]
    assert curves[1].index[-1] == curves[0].index[-1] == 59
    assert curves[1].tail(3).tolist() == curves[0].tail(3).tolist()


def test_an_existing_run_is_neither_overwritten_nor_resumed_unasked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = arguments("bird_mae_tiny", "run", folder, tmp_path, 2)
    assert dispatch(first) == 0
    before = weights(tmp_path, "run")
    assert dispatch(first) == 1
    assert "--resume goes on with it, --overwrite deletes it" in capsys.readouterr().err
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(tmp_path, "run").items())
    assert dispatch([*first, "--overwrite", "--seed", "1"]) == 0
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights(tmp_path, "run").items())


def test_there_must_be_something_to_resume(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(arguments("bird_mae_tiny", "none", folder, tmp_path, 2, "--resume")) == 1
    assert "nothing to resume" in capsys.readouterr().err


@pytest.mark.parametrize("config", RECIPES)
def test_two_processes_train_one_encoder(config: str, folder: Path, tmp_path: Path) -> None:
    pair = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-m", "oscine", *arguments(config, "pair", folder, tmp_path, 3, *pair)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("create_model(") == 1
    assert create_model(f"local-dir:{tmp_path / 'pair' / 'encoder'}").dim == 24
    assert sorted(path.name for path in (tmp_path / "pair" / "encoder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_a_run_keeps_one_state_of_its_last_step(folder: Path, tmp_path: Path) -> None:
    assert dispatch(arguments("bird_mae_tiny", "run", folder, tmp_path, 4)) == 0
    (state,) = (tmp_path / "run" / "states").iterdir()
    assert torch.load(state, weights_only=False)["global_step"] == 4


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "states" / "last.ckpt"
    WholeStates().save_checkpoint({"step": 1}, state)
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)  # stopped in the middle of it
    with pytest.raises(ZeroDivisionError):
        WholeStates().save_checkpoint({"step": 2}, state)
    assert torch.load(state) == {"step": 1}


def test_a_run_records_its_settings_and_is_resumed_with_no_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = arguments("bird_mae_tiny", "run", folder, tmp_path, 2)
    assert dispatch(first) == 0
    settings = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert settings["recipe"]["mask_ratio"] == 0.75
    assert settings["encoder"] == {"name": "bird_mae_tiny", "dim": 24, "depth": 1, "heads": 2}
    assert settings["recipe"]["steps"] == 2
    capsys.readouterr()
    assert dispatch([*first, "--resume", "--recipe.mask_ratio", "0.5", "--recipe.steps", "3", "--log_every", "2"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "recipe.mask_ratio was 0.75, now 0.5; recipe.steps was 2, now 3; " in said
    assert "log_every" not in said
    assert dispatch([*first, "--resume", "--log_every", "2", "--data.workers", "0"]) == 0


def test_a_run_stops_when_its_loss_is_no_number(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([*arguments("bird_mae_tiny", "run", folder, tmp_path, 9), "--recipe.lr", "1e30"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "not finite at step" in said
    assert "no state was kept yet" in said
    assert not (tmp_path / "run" / "encoder").exists()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (["--trainer.devices", "x"], "no such Trainer: `devices`"),
        (["--trainer.accelerator", "steam"], "steam"),
        (["--encoder.dim", "x"], "--encoder.dim is 'x', expected a number"),
        (["--recipe.mask_ratio", "0"], "mask_ratio 0 keeps"),
    ],
)
def test_what_a_run_cannot_be_made_of_is_said_in_one_line(
    wrong: list[str], complaint: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([*arguments("bird_mae_tiny", "run", folder, tmp_path, 2), *wrong]) in (1, 2)
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]
