"""The step of a fit after which a probe does best on rows to choose by."""

from __future__ import annotations

import math

from torch import Tensor, nn


class BestStep:
    """Holds the weights of the best step so far; of equally good ones the first."""

    def __init__(self) -> None:
        self.value, self.step = -math.inf, 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, module: nn.Module, step: int, value: float) -> None:
        """A value that is not defined (NaN) is better than none, and worse than any other."""
        value = -math.inf if math.isnan(value) else value
        if value > self.value or not self.step:
            self.value, self.step = value, step
            self.weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def restore(self, module: nn.Module) -> int:
        """Give the probe, or what it learns with, the best weights; which step's they are."""
        module.load_state_dict(self.weights)
        return self.step
