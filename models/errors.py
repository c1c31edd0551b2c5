"""The one kind of exception that is meant for a user's eyes, and what is said of names that are not known."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches


class OscineError(ValueError):
    """Something the user can mend. The message is one line: what came, what was expected, what would do."""


class Misuse(OscineError):
    """A call that does not fit its command; its exit code says so."""


def check_settings(owner: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise where there is no setting of a name, with the one that is meant, and all that there are."""
    if unknown := sorted(set(names) - set(known)):
        near = get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise OscineError(f"{owner} has no setting {', '.join(unknown)}; {meant}it has {', '.join(known)}")


def check_kind(settings: object, name: str, kind: type) -> None:
    """Raise where a field of settings is not of its own settings class."""
    if not isinstance(value := getattr(settings, name), kind):
        raise Misuse(f"{name} is {value!r}, expected {kind.__name__}(...)")
