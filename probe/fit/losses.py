"""Losses that probes are fitted with: means over every element, in float32 or better."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from oscine.models.errors import OscineError


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compare logits with one class a clip (or frame). logits [..., classes], labels [...] as class numbers."""
    _same_shape("labels", labels, logits.shape[:-1])
    return F.cross_entropy(_full(logits).flatten(0, -2), labels.flatten())


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compare logits with any number of classes a clip (or frame). logits and targets [..., classes], targets in [0, 1]."""
    _same_shape("targets", targets, logits.shape)
    logits = _full(logits)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits))


def asymmetric_bat(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute BAT's asymmetric loss for AudioSet: negatives weigh as much as they are believed (arXiv 2602.16305).

    Shapes as for `binary_cross_entropy`. No gradient flows through the weights.
    """
    log_likelihood, weight = _asymmetric(logits, targets, gamma_negative=1.0, gamma_positive=0.0, clip=0.0)
    return -(weight.detach() * log_likelihood).mean()


def asymmetric_bird_mae(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute Bird-MAE's asymmetric loss: easy negatives hardly count, those below 5 % not at all (arXiv 2504.12880).

    Shapes as for `binary_cross_entropy`. The gradient flows through the weights too.
    """
    log_likelihood, weight = _asymmetric(logits, targets, gamma_negative=4.0, gamma_positive=1.0, clip=0.05)
    return -(weight * log_likelihood).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "asymmetric_bat": asymmetric_bat,
    "asymmetric_bird_mae": asymmetric_bird_mae,
}


def _asymmetric(
    logits: Tensor, targets: Tensor, gamma_negative: float, gamma_positive: float, clip: float
) -> tuple[Tensor, Tensor]:
    """Compute the log-likelihood of the targets and its focusing weight (1 - likelihood) ** gamma, both [..., classes]."""
    _same_shape("targets", targets, logits.shape)
    logits = _full(logits)
    targets = targets.to(logits)
    positive = logits.sigmoid()
    negative = ((-logits).sigmoid() + clip).clamp(max=1.0)
    log_likelihood = targets * positive.clamp(min=1e-8).log() + (1 - targets) * negative.clamp(min=1e-8).log()
    likelihood = positive * targets + negative * (1 - targets)
    gamma = gamma_positive * targets + gamma_negative * (1 - targets)
    return log_likelihood, (1 - likelihood) ** gamma


def _full(logits: Tensor) -> Tensor:
    """Lift half precision to float32: its smallest number is above the 1e-8 that logarithms are kept from 0 with."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _same_shape(name: str, given: Tensor, expected: torch.Size) -> None:
    if given.shape != expected:
        raise OscineError(
            f"{name} have shape {tuple(given.shape)}, these logits need {tuple(expected)}; class numbers go with "
            "cross_entropy, one column a class with the other losses"
        )
