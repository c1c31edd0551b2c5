"""One progress bar for every command: what is done, how far it is, how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """Lines of a shared progress display; `task` gives a callback (done, total, note) for one of them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def task(self, description: str) -> Callable[..., None]:
        line = self.progress.add_task(description, total=None, note="")

        def update(done: int, total: int, note: str = "") -> None:
            self.progress.update(line, completed=done, total=total, note=note)

        return update


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """Show progress while the block runs, on standard error so that standard output keeps to results."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress)
