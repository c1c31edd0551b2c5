"""Check settings: their names, their classes, and the steps of a warm-up."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from oscine.models.errors import Misuse, OscineError


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


def warmup_steps(warmup: float, steps: int, section: str) -> int:
    """Return the optimiser steps of a warm-up: a whole number as it is, what is below 1 as a share of `steps`.

    section: of the settings that are named in the error, "fit" or "recipe".
    """
    if steps < 1:
        raise OscineError(f"{section}.steps is {steps}, expected at least 1 step")
    if 0 <= warmup < 1:
        return min(round(warmup * steps), steps - 1)
    if not (0 <= warmup < steps and float(warmup).is_integer()):
        raise OscineError(
            f"{section}.warmup is {warmup}, expected a share below 1 or fewer steps than {section}.steps, which is {steps}; "
            f"a tenth is usual: {section}.warmup 0.1"
        )
    return int(warmup)
