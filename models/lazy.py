"""Fetch a room's names from its files when they are asked for, so that importing the room takes no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(room: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a room (PEP 562). homes: a file in the room to the names that it has."""
    files = {name: file for file, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in files:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{files[name]}"), name)

    return find, lambda: sorted({*vars(import_module(room)), *files})
