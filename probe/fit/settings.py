"""Settings of a fit: names, values and their meaning, without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from oscine.models.errors import OscineError
from oscine.models.settings_checks import warmup_steps

LOSSES = ("cross_entropy", "binary_cross_entropy", "asymmetric_bat", "asymmetric_bird_mae")


@dataclass(frozen=True)
class FitSettings:
    """Settings of a probe's fit with AdamW, a linear warm-up and half a cosine.

    Args:
        steps: optimiser steps in all.
        warmup: of them, for the linear rise to the peak: a share below 1, or a number of steps.
        batch_size: clips a step.
        lr: peak learning rate of the parameters that have none of their own; it ends at 1e-6.
        weight_decay: of the matrices that have none of their own.
        beta2: of AdamW, how slowly its second moment moves; the first one's is 0.9.
        clip: largest norm of the gradient; null is any.
        loss: cross_entropy, binary_cross_entropy, asymmetric_bat or asymmetric_bird_mae; null is cross_entropy where
            every row has one label, else binary_cross_entropy.
        balanced: draw clips so that rare classes come as often as frequent ones, instead of all clips in turn.
        select_every: after every so many steps the clips to choose by are judged, and the best step is kept (by accuracy
            where every row has one label, else cmap, by frames micro_map); null keeps the last.
        seed: of the initial weights and the order of the clips.
    """

    steps: int = 4000
    warmup: int | float = 0.1
    batch_size: int = 48
    lr: float = 1e-3
    weight_decay: float = 0.05
    beta2: float = 0.999
    clip: float | None = None
    loss: str | None = None
    balanced: bool = False
    select_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        warmup_steps(self.warmup, self.steps, "fit")
        if not 0 <= self.lr < math.inf:
            raise OscineError(f"fit.lr is {self.lr:g}, expected 0 or more; 1e-3 is usual")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.beta2 < 1 or not (self.clip is None or self.clip > 0):
            raise OscineError(
                f"fit.weight_decay is {self.weight_decay:g}, fit.beta2 {self.beta2:g}, fit.clip {self.clip}: expected "
                "0 or more, from 0 to below 1, and null or more than 0"
            )
        if self.batch_size < 1:
            raise OscineError(f"a batch of {self.batch_size} clips; a step needs at least 1")
        if self.loss is not None and self.loss not in LOSSES:
            raise OscineError(f"no loss {self.loss!r}; choose from {', '.join(LOSSES)}")
        if self.select_every is not None and self.select_every < 1:
            raise OscineError(f"fit.select_every is {self.select_every}, expected at least 1 step; null keeps the last")

    @property
    def warmup_steps(self) -> int:
        """Return the optimiser steps of the linear rise to the peak."""
        return warmup_steps(self.warmup, self.steps, "fit")


def check_selection(select_every: int | None, parts: Iterable[Any]) -> None:
    """Raise where a best step is asked for and a part of a task, in arrays or tensors, has no rows to choose it by."""
    without = next((part.name for part in parts if not len(part.valid)), None)
    if select_every and without:
        raise OscineError(
            f"fit.select_every {select_every} chooses a step, but {without} has no rows to choose by: a split 'valid' or "
            "--task.valid 0.2 gives it some, fit.select_every null takes the last step"
        )
