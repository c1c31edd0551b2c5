"""A run is resumed where it stopped, also after SIGKILL, and ends with the very weights of one that never stopped."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from oscine.cli import dispatch
from oscine.models import create_model
from oscine.pretrain import BirdMAEPretraining
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.run.checkpoint import read_state
from oscine.pretrain.run.metrics import loss_curve
from tests.forked import Program, wait_for

TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.batch_size 2 --data.workers 1 --log_every 1 --save_every 3
--pictures_every 0
""".split()
RECIPES = {
    "bat_tiny": "--encoder.seconds 1.0 --recipe.views 2 --recipe.decoder_depth 1 --recipe.decoder_heads 2".split(),
    "bird_mae_tiny": "--recipe.decoder_dim 16 --recipe.decoder_depth 1 --recipe.decoder_heads 2".split(),
    "audiomosaic_tiny": """--encoder.seconds 1.0 --encoder.frames 112 --recipe.projector_hidden 16
    --recipe.projector_dim 8""".split(),
}


def arguments(config: str, name: str, folder: Path, runs: Path, steps: int, *more: str) -> list[str]:
    given = ["--name", name, "--runs", str(runs), "--data.recordings", str(folder)]
    return ["pretrain", config, *given, *TINY, *RECIPES[config], f"--recipe.steps={steps}", "--recipe.warmup=1", *more]


def weights(runs: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(runs / name / "encoder" / "model.safetensors")


def same_state(one: Any, other: Any) -> bool:
    """Whether two states are the same to the bit: weights, teacher, decoder, optimiser, schedules, and what is counted."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_state, one, other))
    return one == other


def state_of(runs: Path, name: str) -> dict[str, Any]:
    return read_state(runs / name / "states" / "last.ckpt")


def kill_at(step: int, command: list[str], folder: Path) -> None:
    """Start `oscine` and kill it, with all processes that read for it, as soon as its log has that step."""
    process = Program(command)
    wait_for(lambda: process.has_ended() or step <= logged_steps(folder))
    assert process.kill_all() == -signal.SIGKILL
    assert not (folder / "encoder").exists(), "killed while it ran"


def logged_steps(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) - 1 for path in folder.glob("logs/version_*/metrics.csv"))


WAYS = [  # workers, parts of a step
    ("bat_tiny", 1, 1),
    ("bird_mae_tiny", 0, 2),
    ("audiomosaic_tiny", 1, 1),
    pytest.param("bird_mae_tiny", 2, 1, marks=pytest.mark.slow),
    pytest.param("bat_tiny", 0, 2, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("config", "workers", "parts"), WAYS)
def test_a_run_killed_at_random_steps_and_resumed_ends_with_the_same_bits(
    config: str, workers: int, parts: int, folder: Path, tmp_path: Path
) -> None:
    more = [f"--data.workers={workers}", f"--trainer.accumulate_grad_batches={parts}", "--encoder.drop_path=0.5"]
    assert dispatch(arguments(config, "whole", folder, tmp_path, 60, *more)) == 0
    drawn = random.Random(f"{config}{workers}{parts}")
    # The first before a state was kept, the second anywhere between two states.
    killed = tmp_path / "killed"
    for step, word in ((1, []), (drawn.randint(4, 40), ["--resume"])):
        kill_at(step, arguments(config, "killed", folder, tmp_path, 60, *more, *word), killed)
    assert dispatch(arguments(config, "killed", folder, tmp_path, 60, *more, "--resume")) == 0
    whole, resumed = state_of(tmp_path, "whole"), state_of(tmp_path, "killed")
    assert whole["global_step"] == 60
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "PretrainingData"):
        assert same_state(whole[key], resumed[key]), key
    curves = [loss_curve(tmp_path / name)["loss"] for name in ("whole", "killed")]
    assert curves[1].equals(curves[0])


def test_two_states_that_differ_in_a_bit_are_not_the_same(folder: Path, tmp_path: Path) -> None:
    assert dispatch(arguments("bird_mae_tiny", "run", folder, tmp_path, 2)) == 0
    one, other = state_of(tmp_path, "run"), state_of(tmp_path, "run")
    assert same_state(one, other)
    other["optimizer_states"][0]["state"][0]["exp_avg"].view(-1)[0] += 1e-7
    assert not same_state(one, other)


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
    assert not (tmp_path / "none").exists()


def test_what_is_no_number_is_kept_in_no_state_also_where_a_run_is_told_to_stop(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = ["--log_every=50", "--save_every=50"]
    losses, calls = BirdMAEPretraining.losses, 0

    def spoilt(recipe: BirdMAEPretraining, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), signal.SIGUSR1)
        return {name: term / 0 if calls == 2 else term for name, term in losses(recipe, *batch).items()}

    monkeypatch.setattr(BirdMAEPretraining, "losses", spoilt)
    assert dispatch([*arguments("bird_mae_tiny", "run", folder, tmp_path, 90), *rare]) == 1
    assert "not finite at step 2 in a batch of" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "run").glob("states/*"))


@pytest.mark.slow
def test_two_processes_train_one_encoder(folder: Path, tmp_path: Path) -> None:
    """The second one is started by Lightning; tests/pretrain/test_distributed.py has more of two, and of other recipes."""
    pair = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-m", "oscine", *arguments("bat_tiny", "pair", folder, tmp_path, 3, *pair)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("create_model(") == 1
    assert create_model(f"local-dir:{tmp_path / 'pair' / 'encoder'}").dim == 24
    assert sorted(path.name for path in (tmp_path / "pair" / "encoder").iterdir()) == [
        "config.json",
        "model.safetensors",
        "run.json",
    ]


@pytest.mark.parametrize("runs", ["absolute", "relative"])
def test_a_run_keeps_the_states_of_its_last_step_and_of_one_before(
    runs: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dispatch(arguments("bird_mae_tiny", "run", folder, tmp_path if runs == "absolute" else Path(), 6)) == 0
    states = tmp_path / "run" / "states"
    assert sorted(path.name for path in states.iterdir()) == ["last.before.ckpt", "last.ckpt"]
    assert [read_state(states / name)["global_step"] for name in ("last.before.ckpt", "last.ckpt")] == [3, 6]


def test_a_run_with_a_torn_state_goes_on_from_the_one_before_and_ends_with_the_same_bits(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = arguments("bird_mae_tiny", "run", folder, tmp_path, 6)
    assert dispatch(first) == 0
    before = weights(tmp_path, "run")
    state = tmp_path / "run" / "states" / "last.ckpt"
    os.truncate(state, state.stat().st_size - 1000)
    shutil.rmtree(tmp_path / "run" / "encoder")
    assert dispatch([*first, "--resume"]) == 0
    assert (
        "last.ckpt is torn: cut short or changed since it was written; taking the state before, of step 3"
        in caplog.text
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(tmp_path, "run").items())


def test_a_recording_replaced_by_another_of_the_same_length_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(level: float) -> None:
        soundfile.write(tmp_path / "in" / "a.wav", np.full(48_000, level), 16_000)

    (tmp_path / "in").mkdir()
    write(0.1)
    assert dispatch(arguments("bird_mae_tiny", "run", tmp_path / "in", tmp_path, 2)) == 0
    write(0.2)
    more = [*arguments("bird_mae_tiny", "run", tmp_path / "in", tmp_path, 4), "--resume", "--change", "recipe.steps"]
    assert dispatch(more) == 1
    assert "a recording was replaced by another of the same length since this run stopped" in capsys.readouterr().err
    assert dispatch([*more, "data.recordings"]) == 0


@pytest.mark.parametrize("most", [4_000, 60_000])  # not even a log; no state
def test_a_full_disk_stops_a_run_with_one_line_and_leaves_its_states(most: int, folder: Path, tmp_path: Path) -> None:
    first = arguments("bird_mae_tiny", "run", folder, tmp_path, 6)
    assert dispatch(first) == 0
    states = {path: path.read_bytes() for path in (tmp_path / "run" / "states").iterdir()}
    # No worker: batches come from one through files in memory.
    more = [*first, "--data.workers=0", "--recipe.steps=90", "--resume", "--change", "recipe.steps"]
    done = Program(more, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))).end()
    assert done.code == 1
    said = done.err.strip().splitlines()[-1]
    assert said.startswith("oscine pretrain: stopped at step ")
    assert (
        f"File too large; the state kept in {tmp_path / 'run' / 'states' / 'last.ckpt'} is from before; when " in said
    )
    assert "Traceback" not in done.err
    assert {path: path.read_bytes() for path in (tmp_path / "run" / "states").iterdir()} == states
    assert dispatch([*first, "--recipe.steps=10", "--resume", "--change", "recipe.steps"]) == 0
    assert loss_curve(tmp_path / "run").index[-1] == 9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # logs may still be open


@pytest.mark.parametrize(
    ("room", "complaint"),  # for states: not even settings are written; logs are
    [
        (0.0, "run cannot be written: No space left on device; make room"),
        (0.5, "No space left on device; the state kept in {last} is from before; when "),
    ],
)
def test_a_disk_without_room_stops_a_run_which_goes_on_when_there_is_some(
    room: float, complaint: str, folder: Path, tmp_path: Path, small_disk: Path
) -> None:
    assert dispatch(arguments("bird_mae_tiny", "whole", folder, tmp_path, 12)) == 0
    first = arguments("bird_mae_tiny", "run", folder, small_disk, 12)
    assert dispatch(first) == 0
    last = small_disk / "run" / "states" / "last.ckpt"
    before = last.with_suffix(".before.ckpt").rename(last).read_bytes()  # as of a run that was killed after step 9
    shutil.rmtree(small_disk / "run" / "encoder")
    disk = os.statvfs(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(disk.f_bavail * disk.f_frsize - int(room * len(before))))
    done = Program([*first, "--data.workers=0", "--resume"]).end()
    assert done.code == 1
    said = done.err.strip().splitlines()[-1]
    assert complaint.format(last=last) in said
    assert "Traceback" not in done.err
    assert [path.name for path in last.parent.iterdir()] == [last.name]
    assert last.read_bytes() == before
    ballast.unlink()
    assert dispatch([*first, "--resume"]) == 0
    whole, resumed = weights(tmp_path, "whole"), weights(small_disk, "run")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


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
    assert "recipe.mask_ratio 0.75, not 0.5; recipe.steps 2, not 3; " in said
    assert "log_every" not in said
    assert dispatch([*first, "--resume", "--log_every", "2", "--data.workers", "0"]) == 0


def recordings_of(data: PretrainingData, batch: int) -> list[str]:
    return [f"batch {batch}.wav", f"batch {batch}.wav", "other.wav"]


def test_a_run_stops_when_its_loss_is_no_number(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([*arguments("bird_mae_tiny", "run", folder, tmp_path, 9), "--recipe.lr", "1e30"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"not finite at step 3 in a batch of {folder}" in said
    assert "; no state was kept yet; " in said
    assert not (tmp_path / "run" / "encoder").exists()


@pytest.mark.parametrize("parts", [1, 2])
def test_the_batch_that_spoilt_a_run_is_named_also_where_it_is_seen_later(
    parts: int, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretrainingData, "recordings_of", recordings_of)
    first = arguments("bird_mae_tiny", "run", folder, tmp_path, 3, f"--trainer.accumulate_grad_batches={parts}")
    assert dispatch(first) == 0
    kept = (tmp_path / "run" / "states" / "last.ckpt").read_bytes()
    losses = BirdMAEPretraining.losses
    calls = 0

    def spoilt(recipe: BirdMAEPretraining, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1  # the fourth batch after the resume
        return {name: term / 0 if calls == 4 else term for name, term in losses(recipe, *batch).items()}

    monkeypatch.setattr(BirdMAEPretraining, "losses", spoilt)
    late = ["--recipe.steps=20", "--log_every=10", "--save_every=10", "--resume", "--change", "recipe.steps"]
    assert dispatch([*first, *late]) == 1
    batch = 3 * parts + 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        f"not finite at step {batch // parts + 1} in a batch of batch {batch}.wav, other.wav; the state kept in" in said
    )
    assert (tmp_path / "run" / "states" / "last.ckpt").read_bytes() == kept


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (["--trainer.devices", "x"], "no such Trainer: `devices`"),
        (["--trainer.accelerator", "steam"], "steam"),
        (["--encoder.dim", "x"], "--encoder.dim is 'x', expected a number"),
        (["--recipe.mask_ratio", "0"], "recipe.mask_ratio is 0, expected a share between 0 (none) and 1 (all)"),
    ],
)
def test_what_a_run_cannot_be_made_of_is_said_in_one_line(
    wrong: list[str], complaint: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([*arguments("bird_mae_tiny", "run", folder, tmp_path, 2), *wrong]) in (1, 2)
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]
