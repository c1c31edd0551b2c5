"""One progress bar for every command: what is done, how far it is, how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 30.0  # seconds between two lines of a log


class Bar(Protocol):
    """`task` adds a line to a progress display and gives the callback (done, total, note) that moves it."""

    def task(self, description: str) -> Callable[..., None]: ...


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """Show progress while the block runs, on standard error so that standard output keeps to results."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Log()
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        yield Display(progress)


class Display:
    """Bars on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def task(self, description: str) -> Callable[..., None]:
        line = self.progress.add_task(description, total=None, note="")

        def update(done: int, total: int, note: str = "") -> None:
            self.progress.update(line, completed=done, total=total, note=note)

        return update


class Log:
    """A plain line now and then, where there is no terminal: in a cluster's log, in a file."""

    def task(self, description: str) -> Callable[..., None]:
        begin = latest = time.monotonic()

        def update(done: int, total: int, note: str = "") -> None:
            nonlocal latest
            now = time.monotonic()
            if done == total or now - latest >= EVERY:
                latest = now
                line = f"{description}: {done}/{total}, {now - begin:.0f} s, {note}"
                print(line.rstrip(", "), file=sys.stderr, flush=True)

        return update
