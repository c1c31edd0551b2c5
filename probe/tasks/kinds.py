"""Name the kinds of tasks, and the loss, metric and scaling that go with each."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from oscine.models.errors import OscineError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class TaskKind(Enum):
    """How many classes a row may have: one, any number, or any number in each of its frames.

    loss        of `FitSettings`, where none is named
    metric      of `Metrics`, by which steps, settings and layers are chosen
    activation  that makes probabilities of logits: softmax or sigmoid
    scaling     of logits by rows to choose by; a temperature leaves the classes of a row in their order. None for frames,
                for which a threshold and a median are chosen
    """

    SINGLE = ("cross_entropy", "accuracy", "softmax", "temperature")
    MULTI = ("binary_cross_entropy", "cmap", "sigmoid", "platt")
    FRAMES = ("binary_cross_entropy", "micro_map", "sigmoid", None)

    def __init__(self, loss: str, metric: str, activation: str, scaling: str | None) -> None:
        self.loss, self.metric, self.activation, self.scaling = loss, metric, activation, scaling

    @classmethod
    def of(cls, targets: Tensor | np.ndarray) -> TaskKind:
        """Tell the kind by the shape of targets: [rows] of class numbers, [rows, classes] or [rows, time, classes]."""
        kinds = {1: cls.SINGLE, 2: cls.MULTI, 3: cls.FRAMES}
        if targets.ndim not in kinds:
            raise OscineError(
                f"targets of shape {tuple(targets.shape)}, expected [rows], [rows, classes] or with time between"
            )
        return kinds[targets.ndim]
