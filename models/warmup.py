"""Warm-up, as every schedule takes it: so many steps, or a share of all."""

from __future__ import annotations

from oscine.models.errors import OscineError


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
