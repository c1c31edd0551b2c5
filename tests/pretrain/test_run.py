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
from safetensors.torch import load_file

from oscine.cli import dispatch
from oscine.pretrain.run import loss_curve

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
    assert dispatch(arguments(config, "whole", folder, tmp_path, 12)) == 0
    state = tmp_path / "killed" / "states" / "last.ckpt"
    command = [sys.executable, "-m", "oscine", *arguments(config, "killed", folder, tmp_path, 12)]
    # As many threads as here: sums in another order end in other bits.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, env=environment)
    for _ in range(1200):
        if state.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert state.exists()
    assert dispatch(arguments(config, "killed", folder, tmp_path, 12, "--resume")) == 0
    whole, resumed = weights(tmp_path, "whole"), weights(tmp_path, "killed")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    curves = [loss_curve(tmp_path / name)["loss"] for name in ("whole", "killed")]
    assert curves[1].index[-1] == curves[0].index[-1] == 11
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
