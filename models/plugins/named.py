"""Find classes and functions by their names: oscine's own, imported when they are taken, and other people's."""

from __future__ import annotations

import logging
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, TypeGuard, TypeVar

from oscine.models.errors import Misuse, OscineError
from oscine.models.json_text import shown
from oscine.models.plugins.load import FLAG, allowed, offered_module, offered_modules

V = TypeVar("V")
OURS = "oscine."  # how the names of oscine's own modules begin
DOTTED = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")  # module:name

logger = logging.getLogger(__name__)


class Named(MutableMapping[str, V], ABC, Generic[V]):
    """Classes or functions of one kind by their names; the names of oscine's own need no import.

    One of somebody else was registered and goes by its name; or its module was imported, and it goes as module:name, and by
    its name alone if that was allowed by a --plugin. Or an installed package offers it; that is asked last. What cannot be
    found is a `Misuse`.

    kind, form: a word for them, and whether they are classes or functions
    homes: name to the file in the room that has it
    unlisted: of these the names that nobody is to choose, but files or oscine itself may
    """

    def __init__(
        self, kind: str, form: str, room: str, homes: Mapping[str, str], *, unlisted: Collection[str] = ()
    ) -> None:
        self.kind, self.form, self.room, self.homes = kind, form, room, dict(homes)
        self.unlisted = frozenset(unlisted)
        self.registered: dict[str, V] = {}

    @abstractmethod
    def _has_form(self, found: object) -> TypeGuard[V]:
        """Whether something is a class or a function at all."""

    @abstractmethod
    def _check_kind(self, one: V) -> None:
        """Raise where it is none of this kind."""

    def __getitem__(self, name: str) -> V:
        if name in self.homes:
            return getattr(import_module(f"{self.room}.{self.homes[name]}"), name)
        if found := self._find(name) or self._offered(name):
            return found
        raise Misuse(f"no {self.kind} {name!r}; {self._known(name)}")

    def check(self, name: object, source: object = None) -> None:
        """Raise where nothing has that name. Of oscine's own nothing is imported. source: who named it, for the error."""
        if name in self.homes:
            return
        try:
            found = isinstance(name, str) and (self._find(name) or self._offered(name))
        except OscineError as error:
            raise type(error)(f"{source}: {error}" if source else str(error)) from error
        if not found:
            there = f"{source} has" if source else "no"
            raise Misuse(
                f"{there} {self.kind} {repr(name) if isinstance(name, str) else shown(name)}; {self._known(name)}"
            )

    def check_file(self, name: object, module: object, source: object) -> None:
        """Raise what `of_file` would. Of oscine's own nothing is imported."""
        if isinstance(module, str) or not isinstance(name, str) or name not in self.homes:
            self.of_file(name, module, source)

    def of_file(self, name: object, module: object, source: object) -> V:
        """Return the one that a saved file names, which imports nothing that is not allowed.

        module: of somebody's own, as `module_of` wrote it down; None of oscine's. source: the file, for the error.
        """
        if isinstance(name, str) and isinstance(module, str):
            found = self._in_module(module, name) or self._find(name)
            if found and found.__module__ != module:  # its file may have another name by now
                logger.warning("%s is of %s.%s, and is read with the one of %s", source, module, name, found.__module__)
        else:
            found = self[name] if isinstance(name, str) and name in self.homes else self._find(name)
        if found is None:
            raise OscineError(f"unknown {self.kind} {shown(name)}; {self._needed(name, module)}")
        return found

    def register(self, one: V) -> V:
        """Add one of somebody else under its own name. Defined anew, as a notebook does, it takes its own place."""
        name = _name(self._check(one))
        there = self.registered.get(name)
        if there and (there.__module__, _path(there)) != (one.__module__, _path(one)):
            raise OscineError(
                f"{one.__module__} and {there.__module__} both have {self.kind} {name}; call one of them otherwise"
            )
        self.registered[name] = one
        return one

    def get(self, name: str, default: Any = None) -> Any:
        """Return the one of that name, of oscine's own and those that are registered, or the default."""
        return self[name] if name in self else default  # noqa: SIM401 - it is `get` that is written here

    def __setitem__(self, name: str, value: V) -> None:
        self.registered[name] = value

    def __delitem__(self, name: str) -> None:
        del self.registered[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*(name for name in self.homes if name not in self.unlisted), *self.registered])

    def __len__(self) -> int:
        return len(self.homes) - len(self.unlisted) + len(self.registered)

    def __contains__(self, name: object) -> bool:
        return (name in self.homes and name not in self.unlisted) or name in self.registered

    def _find(self, name: object) -> V | None:
        """Find one of somebody else that is here already; None where there is none."""
        if not isinstance(name, str) or name in self.homes:
            return None
        if dotted := DOTTED.fullmatch(name):
            return self._in_module(dotted["module"], dotted["name"])
        if name in self.registered:
            return self.registered[name]
        found = {one for module in allowed if (one := self._in_module(module, name))}
        if len(found) > 1:
            ways = " or ".join(sorted(f"{one.__module__}:{name}" for one in found))
            raise Misuse(f"several plugins have a {self.form} {name}; call it {ways}")
        return next(iter(found), None)

    def _in_module(self, module: str, name: str) -> V | None:
        registered = self.registered.get(name)
        if registered and registered.__module__ == module:
            return registered
        # What has been imported is looked at; nothing is imported for it, nor by a module that fetches names when asked.
        holder = sys.modules.get(module)
        found = vars(holder).get(name) if isinstance(holder, ModuleType) else None
        if not self._has_form(found) or found.__module__.startswith(OURS):
            return None  # what a plugin has imported from oscine is not its own
        return self._check(found)

    def _offered(self, name: str) -> V | None:
        """Find one that an installed package offers; None where there is none."""
        if dotted := DOTTED.fullmatch(name):
            module = sys.modules.get(dotted["module"]) or offered_module(dotted["module"])
            found = self._find(name)
            if module and not found:
                raise Misuse(f"{module.__name__} has no {self.kind} {dotted['name']}; check {name}")
            return found
        return next((one for _ in offered_modules() if (one := self._find(name))), None)

    def _check(self, one: V) -> V:
        self._check_kind(one)
        if (name := _name(one)) in self.homes:
            raise OscineError(f"{name} is oscine's own {self.kind}; call that of {one.__module__} otherwise")
        return one

    def _known(self, name: object) -> str:
        near = get_close_matches(str(name), list(self), n=1, cutoff=0.7)
        meant = f"did you mean {near[0]}? " if near else ""
        return f"{meant}expected one of {', '.join(self)}, or module:name of your own, which {FLAG} allows"

    def _needed(self, name: object, module: object) -> str:
        allows = f"{FLAG} allows somebody's own, in Python its import"
        if isinstance(module, str):
            return f"it is of the module {shown(module)}, which is not oscine's; {allows}"
        return f"known are {', '.join(self)}; {allows}"


def _name(one: Any) -> str:
    return one.__name__


def _path(one: Any) -> str:
    """Return the name with what it was defined in."""
    return one.__qualname__
