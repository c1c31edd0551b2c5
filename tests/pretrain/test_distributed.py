"""Two processes with half the batch each do what one does with all of it; a job comes again until its run is done."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from oscine.cli import dispatch
from oscine.cli.console import config
from oscine.cli.pretrain import pretrain
from oscine.pretrain import BirdMAEPretraining
from oscine.pretrain.recipe import Recipe
from oscine.pretrain.run.checkpoint import read_state
from oscine.pretrain.run.metrics import loss_curve
from oscine.pretrain.run.preemption import SYNC_EVERY
from tests.forked import Program, two_processes, wait_for
from tests.pretrain import one_process

SCRIPTS = Path(__file__).resolve().parents[2] / "configs" / "slurm"
TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.workers 0 --log_every 1 --save_every 2 --health_every 0
--pictures_every 0 --recipe.steps 3 --recipe.warmup 1 --trainer.accelerator cpu
""".split()
RECIPES = {
    "bat_tiny": "--encoder.seconds 1.0 --recipe.views 2 --recipe.decoder_depth 1 --recipe.decoder_heads 2".split(),
    "bird_mae_tiny": "--recipe.decoder_dim 16 --recipe.decoder_depth 1 --recipe.decoder_heads 2".split(),
    "audiomosaic_tiny": """--encoder.seconds 1.0 --encoder.frames 112 --recipe.projector_hidden 16
    --recipe.projector_dim 8""".split(),
}


def arguments(yaml: str, name: str, folder: Path, runs: Path, *more: str) -> list[str]:
    given = ["--name", name, "--runs", str(runs), "--data.recordings", str(folder)]
    return ["pretrain", yaml, *given, *TINY, *RECIPES[yaml], *more]


def weights(runs: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(runs / name / "encoder" / "model.safetensors")


# In float64: a bias of keys has no gradient but rounding, which AdamW would make a step of.
EXACT = ["--trainer.precision", "64-true"]


def by_torchrun(arguments: list[str]) -> list[int]:
    """Exit codes of torchrun on two nodes with a process each."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    joined = [*torchrun, "--master-addr", "127.0.0.1", "--master-port", port, "--node-rank"]
    nodes = [subprocess.Popen([*joined, str(node), one_process.__file__, *arguments]) for node in range(2)]
    return [node.wait(timeout=300) for node in nodes]


def by_forking(arguments: list[str]) -> list[int]:
    return [process.end().code for process in two_processes(arguments, nodes=2, work=one_process.run)]


WAYS = [("bat_tiny", by_forking), ("bird_mae_tiny", by_forking), ("audiomosaic_tiny", by_forking)]


@pytest.mark.parametrize(
    ("yaml", "on_two_nodes"), [*WAYS, pytest.param("bat_tiny", by_torchrun, marks=pytest.mark.slow)]
)
def test_two_nodes_with_half_the_batch_do_what_one_does_with_all_of_it(
    yaml: str, on_two_nodes: Callable[[list[str]], list[int]], folder: Path, tmp_path: Path
) -> None:
    alone = arguments(yaml, "alone", folder, tmp_path, *EXACT, "--data.batch_size=4")
    assert Program([str(tmp_path), *alone], work=one_process.run).end().code == 0
    pair = ["--data.batch_size=2", "--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.devices=1"]
    assert on_two_nodes([str(tmp_path), *arguments(yaml, "pair", folder, tmp_path, *EXACT, *pair)]) == [0, 0]
    whole, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("alone", 0, 1))

    assert len(whole["gradients"]) == len(first["gradients"]) == 3
    for one, *halves in zip(whole["gradients"], first["gradients"], second["gradients"], strict=True):
        for name, gradient in one.items():
            for half in halves:
                assert (half[name] - gradient).norm() <= 1e-6 * gradient.norm() + 1e-12, name
    expected = weights(tmp_path, "alone")
    for name, tensor in weights(tmp_path, "pair").items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0)
    curves = [loss_curve(tmp_path / name).filter(like="loss") for name in ("alone", "pair")]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-6)

    masks = torch.cat([first["masks"], second["masks"]]).flatten(1)
    assert len(masks.unique(dim=0)) == len(masks), "no two clips share their masks, on no device"
    assert not set(writes(second, tmp_path / "pair")), "only the first process writes"
    assert set(writes(first, tmp_path / "pair"))


def writes(noted: dict[str, Any], run: Path) -> list[str]:
    return [path for path in noted["written"] if path.startswith(str(run))]


ORDERS = [  # code, parts of a step
    (signal.SIGUSR1, 75, "1"), (signal.SIGUSR1, 75, "2"), (signal.SIGTERM, 143, "1"), (signal.SIGHUP, 129, "1"),
]  # fmt: skip


@pytest.mark.parametrize(("order", "code", "parts"), ORDERS)
def test_a_run_that_is_told_to_stop_keeps_its_state_and_goes_on_to_the_same_bits(
    order: signal.Signals,
    code: int,
    parts: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ["--trainer.accumulate_grad_batches", parts]
    assert dispatch(arguments("bird_mae_tiny", "whole", folder, tmp_path, *more)) == 0
    losses, before = BirdMAEPretraining.losses, signal.getsignal(order)

    def told(recipe: Recipe, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), order)
        return losses(recipe, *batch)

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(BirdMAEPretraining, "losses", told)
        assert dispatch(arguments("bird_mae_tiny", "run", folder, tmp_path, *more)) == code
    state = tmp_path / "run" / "states" / "last.ckpt"
    said = f"oscine pretrain: told to stop at step 1; the state is kept in {state}; --resume goes on\n"
    assert capsys.readouterr().err.endswith(said)
    assert not (tmp_path / "run" / "encoder").exists()
    assert signal.getsignal(order) is before
    assert dispatch(arguments("bird_mae_tiny", "run", folder, tmp_path, "--resume", *more)) == 0
    expected = weights(tmp_path, "whole")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(tmp_path, "run").items())


def in_two_processes(name: str, folder: Path, runs: Path, *more: str) -> list[Program]:
    pair = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=1"]
    return two_processes(arguments("bird_mae_tiny", name, folder, runs, *pair, *more))


def test_of_two_processes_one_is_told_to_stop_and_both_do(folder: Path, tmp_path: Path) -> None:
    logs = tmp_path / "run" / "logs"
    first, second = in_two_processes("run", folder, tmp_path, "--recipe.steps=100000", "--save_every=100000")
    wait_for(lambda: first.has_ended() or any(path.stat().st_size > 200 for path in logs.glob("*/metrics.csv")))
    first.send(signal.SIGUSR1)
    said = first.end()
    assert said.code == second.end().code == 75, said.err
    step = read_state(tmp_path / "run" / "states" / "last.ckpt")["global_step"]
    assert f"told to stop at step {step}; " in said.err
    assert step % SYNC_EVERY == 0


def test_the_process_whose_loss_is_no_number_names_its_recordings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = BirdMAEPretraining.losses

    def spoilt(recipe: Recipe, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        bad = os.environ["RANK"] == "1" and recipe.trainer.global_step == 2
        return {name: term / 0 if bad else term for name, term in losses(recipe, *batch).items()}

    monkeypatch.setattr(BirdMAEPretraining, "losses", spoilt)
    # After the gradients have spoilt the other process, too.
    late = ["--recipe.steps=8", "--log_every=5", "--save_every=8"]
    said = [process.end() for process in in_two_processes("run", folder, tmp_path, *late)]
    assert [one.code for one in said] == [1, 1]
    lines = [line for one in said for line in one.err.splitlines() if "not finite at step 3" in line]
    assert any("in another process" in line for line in lines)
    (named,) = (line for line in lines if "in a batch of" in line)
    assert str(folder) in named
    assert not list((tmp_path / "run").glob("states/*"))


def test_what_one_of_two_processes_cannot_read_ends_both_in_one_line(tmp_path: Path) -> None:
    recordings = tmp_path / "sound"
    recordings.mkdir()
    for number in range(6):
        soundfile.write(recordings / f"{number}.flac", np.random.default_rng(number).uniform(-0.3, 0.3, 16_000), 16_000)
        os.truncate(recordings / f"{number}.flac", 200)  # its header promises a second
    for process in in_two_processes("run", recordings, tmp_path, "--recipe.steps=4"):
        said = process.end()
        assert said.code == 1
        assert "recordings" in said.err.strip().splitlines()[-1]
        assert "Traceback" not in said.err


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; srun, scontrol and torchrun that only note how they are called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("srun", "scontrol", "torchrun"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{name}.called\nexit ${{CODE:-0}}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def job(script: str, *more: str, **environment: str) -> int:
    """Exit code of a job's script, called with a setting of its own."""
    own = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4", "NODE": "1", "ADDRESS": "n0"}
    given = ["bash", str(SCRIPTS / script), "bat_base", "run", "my sounds", "--data.workers", "3", *more]
    return subprocess.run(given, env=os.environ | own | environment, capture_output=True, check=False).returncode


def called(program: str) -> dict[str, Any]:
    """The settings that a noted call of `oscine pretrain bat_base` comes to."""
    words = Path(f"{program}.called").read_text().splitlines()
    start = words.index("bat_base")
    assert words[start - 2 : start] == ["oscine", "pretrain"]
    parser = pretrain.parser("BATPretraining")
    return config.parse(parser, config.find("pretrain", "bat_base"), words[start + 1 :]).as_dict()


def test_a_job_that_was_told_to_stop_comes_again_and_resumes(cluster: Path) -> None:
    (cluster / "my sounds").mkdir()
    assert job("pretrain.sh", CODE="75") == 75
    assert Path("scontrol.called").read_text().split() == ["requeue", "7"]
    given = called("srun")
    assert given["trainer"] | {"num_nodes": 2, "devices": "4", "strategy": "ddp"} == given["trainer"]
    assert (given["name"], given["data"]["workers"], given["resume"], given["overwrite"]) == ("run", 3, False, False)
    assert job("pretrain.sh", SLURM_RESTART_COUNT="1") == 0
    given = called("srun")
    assert (given["resume"], given["overwrite"], given["data"]["workers"]) == (True, False, 3)


def test_a_job_that_began_by_overwriting_does_not_do_so_again(cluster: Path) -> None:
    (cluster / "my sounds").mkdir()
    assert job("pretrain.sh", "--overwrite", "--recipe.steps", "9") == 0
    assert called("srun")["overwrite"]
    assert job("pretrain.sh", "--overwrite", "--recipe.steps", "9", SLURM_RESTART_COUNT="1") == 0
    given = called("srun")
    assert (given["resume"], given["overwrite"], given["recipe"]["steps"]) == (True, False, 9)


@pytest.mark.parametrize("code", ["0", "1"])
def test_a_job_that_is_done_or_failed_does_not_come_again(code: str, cluster: Path) -> None:
    assert job("pretrain.sh", CODE=code) == int(code)
    assert not (cluster / "scontrol.called").exists()


def test_two_nodes_are_joined_by_torchrun(cluster: Path) -> None:
    (cluster / "my sounds").mkdir()
    assert job("torchrun.sh") == 0
    words = Path("torchrun.called").read_text().splitlines()
    assert words[: words.index("-m")] == (
        "--nnodes 2 --node-rank 1 --nproc-per-node 4 --master-addr n0 --master-port 29500".split()
    )
    assert called("torchrun")["trainer"]["num_nodes"] == 2
