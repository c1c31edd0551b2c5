"""Processes that tests fork, to kill them or to have several at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from oscine.cli import main

PATIENCE = 120  # seconds after which what should have happened will not
Work = Callable[[list[str]], None]
# A process of its own at once: importing torch anew takes seconds. Windows has none.
FORK: Any = multiprocessing.get_context("fork") if hasattr(os, "fork") else None


def started(work: Callable[..., None], *arguments: Any, **how: Any) -> Any:
    process = FORK.Process(target=work, args=arguments, kwargs=how)
    process.start()
    return process


def ended(process: Any) -> None:
    process.join(PATIENCE)
    assert process.exitcode is not None


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


class Ended(NamedTuple):
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


class Program:
    """`oscine ARGUMENTS` in a forked process, or another function of them: as from a shell, without importing torch anew.

    It is the first of a process group; its environment is this one's and `environment`.
    """

    def __init__(
        self,
        arguments: list[str],
        *,
        work: Work = main,
        before: Callable[[], None] | None = None,
        **environment: str | int,
    ) -> None:
        outputs = [os.pipe() for _ in range(2)]
        self.process = started(say_and_run, [end for _, end in outputs], environment, before, work, arguments)
        readers = ThreadPoolExecutor(2)  # who is not read does not go on
        self.said = [readers.submit(read_all, begin) for begin, _ in outputs]
        readers.shutdown(wait=False)
        for _, end in outputs:
            os.close(end)

    def send(self, order: signal.Signals) -> None:
        os.kill(self.process.pid, order)

    def has_ended(self) -> bool:
        return not self.process.is_alive()

    def kill_all(self) -> int:
        """Kill it with all processes that it has started; return its exit code."""
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.end().code

    def end(self) -> Ended:
        """Wait for its end."""
        ended(self.process)
        out, err = (said.result(PATIENCE) for said in self.said)
        return Ended(self.process.exitcode, out, err)


def read_all(output: int) -> str:
    with open(output) as pipe:
        return pipe.read()


def say_and_run(
    outputs: list[int],
    environment: dict[str, str | int],
    before: Callable[[], None] | None,
    work: Work,
    arguments: list[str],
) -> None:
    os.setsid()
    os.environ.update({name: str(value) for name, value in environment.items()})
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
        os.close(output)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    logging.getLogger().handlers.clear()  # pytest's; the command brings its own
    if before:
        before()
    work(arguments)


def two_processes(arguments: list[str], *, nodes: int = 1, work: Work = main) -> list[Program]:
    """Start two processes of one run as torchrun does: both on one node, or each on its own."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    run: dict[str, str | int] = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    here = 2 // nodes
    return [
        Program(
            arguments, work=work, **run, WORLD_SIZE=2, LOCAL_WORLD_SIZE=here,
            RANK=rank, LOCAL_RANK=rank % here, GROUP_RANK=rank // here,
        )
        for rank in range(2)
    ]  # fmt: skip


class Bomb:
    """Kills its own process at the n-th time that something is to change on the disk."""

    def __init__(self, step: int) -> None:
        self.left = step

    def arm(self) -> None:
        changes = [(Path, name) for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "touch")]
        for module, name in [*changes, (os, "fsync"), (shutil, "rmtree")]:
            setattr(module, name, self.before(getattr(module, name)))

    def before(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **how: Any) -> Any:
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return change(*arguments, **how)

        return changed
