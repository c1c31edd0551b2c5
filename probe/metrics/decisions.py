"""Choose by validation rows how logits become probabilities, and from which probability on to say yes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.probe.metrics.calibration import Scaling, fit_platt, fit_temperature
from oscine.probe.metrics.metrics import check_logits, check_targets
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import as_columns

FITS = {"temperature": fit_temperature, "platt": fit_platt}


class DecisionRule(NamedTuple):
    """How a probe's logits are scaled, and thresholds [classes] of the probabilities so scaled."""

    scaling: Scaling
    thresholds: Tensor


def fit_decision_rule(logits: Tensor, targets: Tensor) -> DecisionRule:
    """Fit both to rows that are neither learnt from nor judged. logits [rows, classes], targets as in `Task`.

    One scaling for all classes together, which rare ones cannot overfit.
    """
    kind = TaskKind.of(targets)
    if kind.scaling is None:
        raise OscineError("frames have no scaling; choose_decision finds their threshold and median")
    scaling = FITS[kind.scaling](logits, targets)
    found = as_probabilities(logits.double(), kind, scaling)
    return DecisionRule(scaling, best_thresholds(found, as_columns(targets, logits.shape[1])))


def as_probabilities(logits: Tensor, kind: TaskKind, scaling: Scaling | None = None) -> Tensor:
    """Turn logits [..., classes] of a task of that kind into probabilities.

    In double precision they hardly ever tie.
    """
    if scaling:
        logits = scaling(logits)
    return logits.softmax(-1) if kind is TaskKind.SINGLE else logits.sigmoid()


def best_thresholds(scores: Tensor, targets: Tensor) -> Tensor:  # [classes]
    """Thresholds above which to say yes, for the best F1 of each class. Only validation rows may be given, never test rows.

    scores, logits or probabilities, and targets, 0 or 1, are [rows, classes]. A threshold lies midway between the lowest
    score that is a yes and the next one below, or just below it where there is none; of equally good ones the highest is
    taken. A class without positives has nothing to go by: it takes the best threshold of all pairs of row and class.
    """
    check_logits(scores)
    check_targets(scores, targets)
    scores, targets = scores.detach().cpu().double(), targets.detach().cpu().double()
    shared = _best(scores.reshape(-1, 1), targets.reshape(-1, 1))
    return torch.where(targets.any(0), _best(scores, targets), shared)


def _best(scores: Tensor, targets: Tensor) -> Tensor:  # [classes]
    rows = len(scores)
    ordered, order = scores.sort(dim=0, descending=True)
    hits = targets.gather(0, order).cumsum(0)  # among the first one, two, ... rows
    f1 = 2 * hits / (torch.arange(1, rows + 1)[:, None] + targets.sum(0))
    f1[:-1][ordered[:-1] == ordered[1:]] = -1  # a threshold cannot part equal scores
    least = torch.nextafter(
        ordered[-1:], ordered.new_tensor(-math.inf)
    )  # all are a yes, and what is less likely is none
    thresholds = torch.cat([(ordered[:-1] + ordered[1:]) / 2, least])
    return thresholds.gather(0, f1.argmax(0, keepdim=True))[0]
