"""Find classes by their names, and what their constructors take."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Generic, TypeGuard, TypeVar, get_type_hints

from oscine.models.errors import OscineError
from oscine.models.plugins.named import OURS, Named

T = TypeVar("T")


class Classes(Named[type[T]], Generic[T]):
    """Classes by their names.

    kind, base: a word for them and the module with the class that all of them are kinds of, Recipe of "a.b:Recipe"
    homes, unlisted: as `Named` has them
    """

    def __init__(
        self, kind: str, base: str, room: str, homes: Mapping[str, str], *, unlisted: Collection[str] = ()
    ) -> None:
        super().__init__(kind, "class", room, homes, unlisted=unlisted)
        self.base = base

    def _has_form(self, found: object) -> TypeGuard[type[T]]:
        return isinstance(found, type)

    def _check_kind(self, one: type[T]) -> None:
        module, _, name = self.base.partition(":")
        base = getattr(import_module(module), name)
        if not (isinstance(one, type) and issubclass(one, base)):
            raise OscineError(
                f"{getattr(one, '__name__', one)} is no {self.kind}; expected a class that builds on {name}"
            )


def module_of(one: type) -> str | None:
    """Return the module of somebody's own class; None of oscine's."""
    return None if one.__module__.startswith(OURS) else one.__module__


def parameters_of(kind: type) -> dict[str, inspect.Parameter]:
    """Return what the constructor of a class takes, by name; with **kwargs also what those of its parents take."""
    found: dict[str, inspect.Parameter] = {}
    for one in kind.__mro__:
        if "__init__" not in vars(one):
            continue
        constructor = vars(one)["__init__"]
        hints = get_type_hints(constructor)
        own = list(inspect.signature(constructor).parameters.values())[1:]
        further = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own)
        for parameter in own:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                annotation = hints.get(parameter.name, Any)
                found.setdefault(parameter.name, parameter.replace(annotation=annotation))
        if not further:
            break
    return found
