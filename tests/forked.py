"""Processes that tests fork, to kill them or to have several at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from oscine.cli import main

PATIENCE = 60  # seconds after which what should have happened will not
FORK = multiprocessing.get_context("fork")  # a process of its own at once: importing torch anew takes seconds


def started(work: Callable[..., None], *arguments: Any, **how: Any) -> Any:
    process = FORK.Process(target=work, args=arguments, kwargs=how)
    process.start()
    return process


def ended(process: Any) -> None:
    process.join(PATIENCE)
    assert process.exitcode is not None


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
        self, arguments: list[str], *, work: Callable[[list[str]], None] = main, **environment: str | int
    ) -> None:
        self.outputs = [tempfile.TemporaryFile("w+") for _ in range(2)]
        self.process = started(say_and_run, self.outputs, environment, work, arguments)

    def send(self, order: signal.Signals) -> None:
        os.kill(self.process.pid, order)

    def send_when(self, order: signal.Signals, happened: Callable[[], bool]) -> None:
        """Send a signal as soon as something has happened, or the process has ended by itself."""
        until = time.monotonic() + PATIENCE
        while self.process.is_alive() and not happened() and time.monotonic() < until:
            time.sleep(0.01)
        self.send(order)

    def kill_all(self) -> int:
        """Kill it with all processes that it has started; return its exit code."""
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.end().code

    def end(self) -> Ended:
        """Wait for its end."""
        ended(self.process)
        for output in self.outputs:
            output.seek(0)
        out, err = (output.read() for output in self.outputs)
        return Ended(self.process.exitcode, out, err)


def say_and_run(
    outputs: list[IO[str]], environment: dict[str, str | int], work: Callable[[list[str]], None], arguments: list[str]
) -> None:
    os.setsid()
    os.environ.update({name: str(value) for name, value in environment.items()})
    for number, output in enumerate(outputs, start=1):
        os.dup2(output.fileno(), number)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
    logging.getLogger().handlers.clear()  # pytest's; the command brings its own
    work(arguments)


def two_processes(arguments: list[str], *, nodes: int = 1, work: Callable[[list[str]], None] = main) -> list[Program]:
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
