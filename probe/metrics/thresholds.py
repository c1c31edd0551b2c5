"""From scores to yes and no: the threshold of every class that gives the best F1 on validation rows."""

from __future__ import annotations

import torch
from torch import Tensor

from oscine.probe.metrics.metrics import check_logits, check_targets


def best_thresholds(scores: Tensor, targets: Tensor) -> Tensor:  # [classes]
    """Thresholds above which to say yes, for the best F1 of each class. Only validation rows may be given, never test rows.

    scores, logits or probabilities, and targets, 0 or 1, are [rows, classes]. A threshold lies midway between the lowest
    score that is a yes and the next one below; of equally good ones the highest is taken. A class without positives has
    nothing to go by: it takes the best threshold of all pairs of row and class.
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
    below = torch.cat([ordered[1:], ordered[-1:] - 1])
    f1[ordered == below] = -1  # a threshold cannot part equal scores
    best = f1.argmax(0, keepdim=True)
    return ((ordered + below) / 2).gather(0, best)[0]
