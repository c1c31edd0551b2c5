"""Processes that tests fork, to kill them or to have several at once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 60  # seconds after which what should have happened will not
FORK = multiprocessing.get_context("fork")  # a process of its own at once: importing torch anew takes seconds


def started(work: Callable[..., None], *arguments: Any, **how: Any) -> Any:
    process = FORK.Process(target=work, args=arguments, kwargs=how)
    process.start()
    return process


def ended(process: Any) -> None:
    process.join(PATIENCE)
    assert process.exitcode is not None


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
