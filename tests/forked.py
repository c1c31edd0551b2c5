"""Processes that tests fork, to kill them or to have several at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
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
