"""Two processes with half the batch each do what one does with all of it; a job comes again until its run is done."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from oscine.cli import config, dispatch, pretrain
from oscine.pretrain import BirdMAEPretraining, stop
from oscine.pretrain.recipe import Recipe

PROGRAM = Path(__file__).parent / "one_process.py"
SCRIPTS = Path(__file__).resolve().parents[2] / "configs" / "slurm"
TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.workers 0 --log_every 1 --save_every 2 --health_every 0
--pictures_every 0 --recipe.steps 3 --recipe.warmup 1 --recipe.decoder_depth 1 --recipe.decoder_heads 2
--trainer.accelerator cpu
""".split()
RECIPES = {
    "bat_tiny": "--encoder.seconds 1.0 --recipe.views 2".split(),
    "bird_mae_tiny": "--recipe.decoder_dim 16".split(),
}


def arguments(yaml: str, name: str, folder: Path, runs: Path, *more: str) -> list[str]:
    given = ["--name", name, "--runs", str(runs), "--data.recordings", str(folder)]
    return ["pretrain", yaml, *given, *TINY, *RECIPES[yaml], *more]


def weights(runs: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(runs / name / "encoder" / "model.safetensors")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def two_nodes(program: list[str]) -> None:
    """Run a program as on two nodes with a process each, as torchrun starts them."""
    port = str(free_port())
    begin = "--nnodes 2 --nproc-per-node 1 --master-addr 127.0.0.1 --master-port".split()
    torchrun = [sys.executable, "-m", "torch.distributed.run", *begin, port]
    started = [
        subprocess.Popen(
            [*torchrun, "--node-rank", str(node), *program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for node in range(2)
    ]
    for process in started:
        said = process.communicate(timeout=300)[0]
        assert process.returncode == 0, said


# In float64: a bias of keys has no gradient but rounding, which AdamW would make a step of.
EXACT = ["--trainer.precision", "64-true"]


@pytest.mark.parametrize("yaml", RECIPES)
def test_two_nodes_with_half_the_batch_do_what_one_does_with_all_of_it(yaml: str, folder: Path, tmp_path: Path) -> None:
    alone = arguments(yaml, "alone", folder, tmp_path, *EXACT, "--data.batch_size=4")
    subprocess.run([sys.executable, str(PROGRAM), str(tmp_path), *alone], check=True, capture_output=True)
    pair = ["--data.batch_size=2", "--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.devices=1"]
    two_nodes([str(PROGRAM), str(tmp_path), *arguments(yaml, "pair", folder, tmp_path, *EXACT, *pair)])
    whole, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("alone", 0, 1))

    assert len(whole["gradients"]) == len(first["gradients"]) == 3
    for one, *halves in zip(whole["gradients"], first["gradients"], second["gradients"], strict=True):
        for name, gradient in one.items():
            for half in halves:
                assert (half[name] - gradient).norm() <= 1e-6 * gradient.norm() + 1e-12, name
    expected = weights(tmp_path, "alone")
    for name, tensor in weights(tmp_path, "pair").items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0)

    masks = torch.cat([first["masks"], second["masks"]]).flatten(0, 1)
    assert len(masks.unique(dim=0)) == len(masks), "no two clips share a mask, on no device"
    assert not set(writes(second, tmp_path / "pair")), "only the first process writes"
    assert set(writes(first, tmp_path / "pair"))


def writes(noted: dict[str, Any], run: Path) -> list[str]:
    return [path for path in noted["written"] if path.startswith(str(run))]


@pytest.mark.parametrize("parts", ["1", "2"])
def test_a_run_that_is_told_to_stop_keeps_its_state_and_goes_on_to_the_same_bits(
    parts: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--trainer.accumulate_grad_batches", parts]
    assert dispatch(arguments("bird_mae_tiny", "whole", folder, tmp_path, *more)) == 0
    losses, before = BirdMAEPretraining.losses, signal.getsignal(signal.SIGUSR1)

    def told(recipe: Recipe, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGUSR1)
        return losses(recipe, *batch)

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(BirdMAEPretraining, "losses", told)
        patched.setattr(stop, "AGREE", 1)
        assert dispatch(arguments("bird_mae_tiny", "run", folder, tmp_path, *more)) == 75
    state = tmp_path / "run" / "states" / "last.ckpt"
    said = f"oscine pretrain: told to stop at step 1; the state is kept in {state}; --resume goes on\n"
    assert capsys.readouterr().err.endswith(said)
    assert not (tmp_path / "run" / "encoder").exists()
    assert signal.getsignal(signal.SIGUSR1) is before
    assert dispatch(arguments("bird_mae_tiny", "run", folder, tmp_path, "--resume", *more)) == 0
    expected = weights(tmp_path, "whole")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(tmp_path, "run").items())


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


def job(script: str, **environment: str) -> int:
    """Exit code of a job's script, called with a setting of its own."""
    own = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4", "NODE": "1", "ADDRESS": "n0"}
    given = ["bash", str(SCRIPTS / script), "bat_base", "run", "my sounds", "--data.workers", "3"]
    return subprocess.run(given, env=os.environ | own | environment, capture_output=True, check=False).returncode


def called(program: str) -> dict[str, Any]:
    """The settings that a noted call of `oscine pretrain bat_base` comes to."""
    words = Path(f"{program}.called").read_text().splitlines()
    start = words.index("bat_base")
    assert words[start - 2 : start] == ["oscine", "pretrain"]
    parser = pretrain.parser(pretrain.METHODS["BATPretraining"])
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
    assert (given["resume"], given["overwrite"]) == (True, False)


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
