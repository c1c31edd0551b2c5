"""A display of progress, as every room takes it, and the one that shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

# (done, total, note=""): moves the display of a task of so many steps, clips or recordings.
ShowProgress = Callable[..., None]


def show_nothing(done: int, total: int, note: str = "") -> None:
    """Show no progress."""


class Bar(Protocol):
    """A display of progress.

    task: adds a task to it and returns what moves that task. say: adds a line.
    """

    def task(self, description: str) -> ShowProgress: ...

    def say(self, text: str) -> None: ...


class NoBar:
    """Shows nothing."""

    def task(self, description: str) -> ShowProgress:
        return show_nothing

    def say(self, text: str) -> None:
        pass
