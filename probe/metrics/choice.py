"""What rows that nobody is judged by choose: how logits are scaled, and from which probability on to say yes."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import one_hot

from oscine.probe.metrics.calibration import Scaling, fit_platt, fit_temperature
from oscine.probe.metrics.thresholds import best_thresholds

FITS = {"temperature": fit_temperature, "platt": fit_platt}
# Of one label a row, whose classes a temperature leaves in their order; of any number. Both are for all classes
# together: rare ones cannot overfit them.
KEPT = {True: "temperature", False: "platt"}


class Choice(NamedTuple):
    """How a probe's logits are scaled, and thresholds [classes] of the probabilities so scaled."""

    scaling: Scaling
    thresholds: Tensor


def make_choice(logits: Tensor, targets: Tensor, single_label: bool) -> Choice:
    """By rows that are neither learnt from nor judged. logits [rows, classes], targets as in `Task`."""
    scaling = FITS[KEPT[single_label]](logits, targets)
    found = as_probabilities(logits.double(), single_label, scaling)
    return Choice(scaling, best_thresholds(found, one_hot(targets, logits.shape[1]) if single_label else targets))


def as_probabilities(logits: Tensor, single_label: bool, scaling: Scaling | None = None) -> Tensor:
    """Of logits [..., classes], of which a row has one class, or any number; in double precision they hardly ever tie."""
    if scaling:
        logits = scaling(logits)
    return logits.softmax(-1) if single_label else logits.sigmoid()
