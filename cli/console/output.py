"""Show progress and tables: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from oscine.models.progress import Bar, ShowProgress
from oscine.models.text.safe_text import escape_controls, escape_lines
from oscine.models.text.words import duration

EVERY = 30.0  # seconds between two lines of a log


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Bar]:
    """Show progress while the block runs, on standard error so that standard output keeps to results."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Log()
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=None), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("{task.fields[note]}", markup=False),
    )  # fmt: skip
    progress = Progress(*columns, console=console, expand=True)
    progress.start()
    try:
        yield Display(progress)
    finally:
        with suppress(OSError):  # a terminal that was closed does not end the work
            progress.stop()


class Display:
    """Bars on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def task(self, description: str) -> ShowProgress:
        line, pace = self.progress.add_task(description, total=None, note=""), Pace()

        def update(done: int, total: int, note: str = "") -> None:
            self.progress.update(line, completed=done, total=total, note=listed(pace.left(done, total), note))

        return update

    def say(self, text: str) -> None:
        with suppress(OSError):
            self.progress.console.print(escape_lines(text), highlight=False, markup=False)


class Log:
    """A plain line now and then, where there is no terminal: in a cluster's log, in a file."""

    def task(self, description: str) -> ShowProgress:
        pace, said = Pace(), -1
        begin = latest = time.monotonic()

        def update(done: int, total: int, note: str = "") -> None:
            nonlocal latest, said
            left, now = pace.left(done, total), time.monotonic()
            if done != said and (done == total or now - latest >= EVERY):
                latest, said = now, done
                self.say(f"{description}: {listed(f'{done}/{total}', duration(now - begin), left, note)}")

        return update

    def say(self, text: str) -> None:
        with suppress(OSError):  # nobody may read it any more
            print(escape_lines(text), file=sys.stderr, flush=True)


class Pace:
    """How long a task will take, by what was done since its first update: what an earlier run did is no help."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None  # done, when

    def left(self, done: int, total: int) -> str:
        now = time.monotonic()
        self.first = self.first or (done, now)
        first, begin = self.first
        if not first < done < total:
            return ""
        return f"{duration((now - begin) * (total - done) / (done - first))} left"


def listed(*parts: str) -> str:
    return ", ".join(filter(None, parts))


WIDE = 1000  # more than any table needs


def print_table(table: Table) -> None:
    """Print a table on standard output: on a terminal as wide as that, elsewhere as wide as it needs to be."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=WIDE).measure(table).maximum)
    console.print(table)


def plain(text: str) -> Text:
    """Make a cell of the text of others: nothing of it is markup, or steers the terminal."""
    return Text(escape_controls(text))
