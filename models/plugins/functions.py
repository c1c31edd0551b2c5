"""Find functions by their names, and what they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeGuard, TypeVar

from oscine.models.errors import OscineError
from oscine.models.plugins.named import Named

F = TypeVar("F", bound=Callable[..., Any])


class Functions(Named[F]):
    """Functions by their names.

    kind, takes: a word for them, and the names of what all of them take first
    homes, unlisted: as `Named` has them
    """

    def __init__(
        self, kind: str, takes: tuple[str, ...], room: str, homes: Mapping[str, str], *, unlisted: Collection[str] = ()
    ) -> None:
        super().__init__(kind, "function", room, homes, unlisted=unlisted)
        self.takes = takes

    def _has_form(self, found: object) -> TypeGuard[F]:
        return inspect.isfunction(found)

    def _check_kind(self, one: F) -> None:
        try:
            inspect.signature(one).bind(*self.takes)
        except (TypeError, ValueError) as error:
            raise OscineError(
                f"{getattr(one, '__name__', one)} is no {self.kind}; expected a function of ({', '.join(self.takes)}) and "
                "of options that have defaults"
            ) from error


def options_of(function: Callable[..., Any]) -> set[str] | None:
    """Return the names of what a function takes by name alone; None with **kwargs, where it may be anything."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
