"""A display of progress, as every room takes it, and the one that shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Bar(Protocol):
    """A display of progress.

    task: adds a task to it and returns the callback (done, total, note) that moves that task. say: adds a line.
    """

    def task(self, description: str) -> Callable[..., None]: ...

    def say(self, text: str) -> None: ...


class NoBar:
    """Shows nothing."""

    def task(self, description: str) -> Callable[..., None]:
        return lambda done, total, note="": None

    def say(self, text: str) -> None:
        pass
