"""A room's names and classes, each fetched from its file when it is asked for, so that importing the room takes no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def lazily(room: str, homes: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a room (PEP 562). homes: name to the file in the room that has it."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{homes[name]}"), name)

    return find, lambda: sorted({*vars(import_module(room)), *homes})


class LazyClasses(MutableMapping[str, type[T]], Generic[T]):
    """Classes by their names, imported when they are taken; the names alone need no import. Others may be added.

    homes: name to the file in the room that has the class.
    """

    def __init__(self, room: str, homes: Mapping[str, str]) -> None:
        self.room = room
        self.found: dict[str, str | type[T]] = dict(homes)

    def __getitem__(self, name: str) -> type[T]:
        found = self.found[name]
        if isinstance(found, str):
            return getattr(import_module(f"{self.room}.{found}"), name)
        return found

    def __setitem__(self, name: str, value: type[T]) -> None:
        self.found[name] = value

    def __delitem__(self, name: str) -> None:
        del self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __contains__(self, name: object) -> bool:
        return name in self.found
