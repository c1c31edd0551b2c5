"""Measure and mend calibration: errors, reliability curves, temperature and Platt scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from oscine.models.errors import OscineError
from oscine.probe.metrics.metrics import check_logits, check_targets

# Slopes per standard deviation of the logits. Where a threshold parts positives from negatives without an error, the
# steepest slope is the best: at this one, a logit half a deviation off is a probability of 5e-5, which no validation set can
# refute. The flattest says the same of every row, and keeps their order, where logits point the wrong way.
FLATTEST, STEEPEST = 1e-4, 20.0
CLASSES_AT_ONCE = 64  # classes that are fitted at once, a tensor of which takes 10 MB with 20,000 rows
MOST_STEPS, HALVINGS = 100, 40  # of Newton's method; ten steps mostly do
# Of a slope or an offset per standard deviation: a smaller step is the last, and a bound so near is reached.
ENOUGH = 1e-9


class Reliability(NamedTuple):
    """What a reliability diagram shows; every tensor is [classes, bins]. NaN where a bin is empty.

    Bins are equally wide and begin with their lower edge; the last one is a probability of exactly 1.
    """

    confidence: Tensor  # mean probability
    frequency: Tensor  # share of positives
    rows: Tensor


class Miscalibration(NamedTuple):
    """How far probabilities are from frequencies. error = over + under, signed = over - under; 0 is perfect.

    error   expected calibration error, the mean distance of a bin's confidence from its frequency
    signed  the same with its sign: above 0 is over-confident, below is under-confident
    worst   of the bin that is farthest off
    """

    error: float
    signed: float
    over: float
    under: float
    worst: float


@dataclass(frozen=True)
class Calibration:
    """Miscalibration in three averages (arXiv 2511.08261), and the curves that it comes from.

    marginal  mean over classes
    weighted  mean over classes, each as often as it has positives; NaN where none has any
    pooled    all pairs of row and class as one binary problem; the paper's "global"
    """

    marginal: Miscalibration
    weighted: Miscalibration
    pooled: Miscalibration
    curves: Reliability  # of every class
    pooled_curve: Reliability  # [1, bins]


def calibration(probabilities: Tensor, targets: Tensor, bins: int = 10) -> Calibration:
    """Measure the calibration of probabilities [rows, classes] in [0, 1] against targets [rows, classes] of 0 and 1."""
    curves, pooled_curve = (
        reliability(values, truth, bins)
        for values, truth in ((probabilities, targets), (probabilities.reshape(-1, 1), targets.reshape(-1, 1)))
    )
    classes = targets.shape[1]
    positives = targets.sum(0).double()
    return Calibration(
        marginal=_average(curves, torch.ones(classes).double()),
        weighted=_average(curves, positives),
        pooled=_average(pooled_curve, torch.ones(1).double()),
        curves=curves,
        pooled_curve=pooled_curve,
    )


def reliability(probabilities: Tensor, targets: Tensor, bins: int = 10) -> Reliability:
    """Compute the reliability curve of every class. Shapes as for `calibration`; bins as those of torchmetrics."""
    check_logits(probabilities)
    check_targets(probabilities, targets)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise OscineError(
            f"probabilities run from {probabilities.min():g} to {probabilities.max():g}, expected 0 to 1; "
            "give the sigmoid or the softmax of logits"
        )
    values = probabilities.detach().cpu().float()  # in double, 0.7 would lie below the edge of its bin
    bin_of = torch.bucketize(values, torch.linspace(0, 1, bins + 1), right=True) - 1
    empty = torch.zeros(values.shape[1], bins + 1, dtype=torch.float64)
    rows = empty.scatter_add(1, bin_of.T, torch.ones_like(values.T).double())
    confidence = empty.scatter_add(1, bin_of.T, values.T.double()) / rows
    frequency = empty.scatter_add(1, bin_of.T, targets.detach().cpu().T.double()) / rows
    return Reliability(confidence, frequency, rows)


def _average(curves: Reliability, weights: Tensor) -> Miscalibration:
    """Average the errors of reliability curves [classes, bins] over classes, by weights [classes]."""
    gaps = (curves.confidence - curves.frequency).nan_to_num(0.0)
    shares = curves.rows / curves.rows.sum(1, keepdim=True)
    weights = weights / weights.sum()

    def mean(per_class: Tensor) -> float:
        return (weights * per_class).sum().item()

    return Miscalibration(
        error=mean((shares * gaps.abs()).sum(1)),
        signed=mean((shares * gaps).sum(1)),
        over=mean((shares * gaps.clamp(min=0)).sum(1)),
        under=mean((shares * (-gaps).clamp(min=0)).sum(1)),
        worst=mean(gaps.abs().amax(1)),
    )


class Scaling(NamedTuple):
    """Calibrated logits are logits * scale + shift; each [1] for all classes, or [classes], in double precision."""

    scale: Tensor
    shift: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        scale, shift = (values.to(logits) for values in self)
        return logits * scale + shift

    def where_seen(self, targets: Tensor, otherwise: Scaling) -> Scaling:
        """This one for the classes that have positives in targets [rows, classes], which it was fitted on; else another.

        A class that never occurs teaches a scaling of its own nothing but a shift without end.
        """
        seen = targets.bool().any(0)
        return Scaling(*(torch.where(seen, own, other) for own, other in zip(self, otherwise)))


def fit_temperature(logits: Tensor, targets: Tensor, per_class: bool = False) -> Scaling:
    """Fit the temperature, or one a class, that logits are to be divided by. Arguments as for `fit_platt`."""
    return _fit(logits, targets, per_class=per_class, shifts=False)


def fit_platt(logits: Tensor, targets: Tensor, per_class: bool = False) -> Scaling:
    """Fit a slope and an offset, or a pair a class, to logits [rows, classes] of validation rows, never of judged ones.

    targets [rows, classes] of 0 and 1, under the mean binary cross-entropy; or [rows] class numbers, under cross-entropy.
    Where only probabilities are left, their logits are `torch.logit(probabilities, eps=1e-6)`.
    The numbers are those of the least loss, which is convex. The slope stays positive, and rows keep their order.
    """
    return _fit(logits, targets, per_class=per_class, shifts=True)


def _fit(logits: Tensor, targets: Tensor, *, per_class: bool, shifts: bool) -> Scaling:
    check_logits(logits)
    logits, targets = logits.detach().cpu().double(), targets.detach().cpu()
    if targets.ndim == 1:
        return _least_cross_entropy(logits, targets, per_class=per_class, shifts=shifts)
    if not per_class:  # all pairs of row and class are one binary problem
        logits, targets = logits.reshape(-1, 1), targets.reshape(-1, 1)
    blocks = zip(logits.split(CLASSES_AT_ONCE, dim=1), targets.split(CLASSES_AT_ONCE, dim=1), strict=True)
    scales, offsets = zip(*(_least_losses(*block, shifts) for block in blocks), strict=True)
    return Scaling(torch.cat(scales), torch.cat(offsets))


def _least_losses(logits: Tensor, targets: Tensor, shifts: bool) -> Scaling:
    """Find the least binary cross-entropy of each class by itself, and all at once.

    Newton's method within bounds, of logits [rows, classes] that are standardised.
    """
    centre, spread = _centre_and_spread(logits, True, shifts)
    scaled, truth = (logits - centre) / spread, targets.double()
    farthest = STEEPEST * (1 + scaled.abs().amax(0)) * shifts
    low = torch.stack([torch.full_like(farthest, FLATTEST), -farthest])
    high = torch.stack([torch.full_like(farthest, STEEPEST), farthest])
    numbers = torch.stack([torch.ones_like(farthest), torch.zeros_like(farthest)])  # [slope and offset, classes]
    left = torch.arange(logits.shape[1])
    for _ in range(MOST_STEPS):
        step = _newton_step(scaled[:, left], truth[:, left], numbers[:, left], low[:, left], high[:, left])
        numbers[:, left] = (numbers[:, left] + step).clamp(low[:, left], high[:, left])
        left = left[(step.abs() > ENOUGH).any(0)]
        if not len(left):
            break
    return _of_logits(numbers[0], numbers[1], centre, spread)


def _newton_step(scaled: Tensor, truth: Tensor, numbers: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Take one step of Newton's method, [slope and offset, classes], within bounds and so short that the loss falls."""
    probabilities = (scaled * numbers[0] + numbers[1]).sigmoid()
    wrong, weights = probabilities - truth, probabilities * (1 - probabilities)
    slopes = torch.stack([(wrong * scaled).mean(0), wrong.mean(0)])
    curves = torch.stack([(weights * scaled**2).mean(0), (weights * scaled).mean(0), weights.mean(0)])
    lowest, highest = numbers <= low + ENOUGH, numbers >= high - ENOUGH
    fixed = (lowest & (slopes >= 0)) | (highest & (slopes <= 0))
    direction = _newton_direction(slopes, curves, fixed)
    fixed |= (lowest & (direction < 0)) | (highest & (direction > 0))  # the other number alone may still go on
    direction = _newton_direction(slopes, curves, fixed)
    room = torch.where(direction > 0, high - numbers, low - numbers) / direction
    size = torch.where(direction == 0, 1.0, room).amin(0).clamp(max=1)
    before, fall = _losses(scaled, truth, numbers), 1e-4 * (slopes * direction).sum(0)
    for _ in range(HALVINGS):
        after = _losses(scaled, truth, numbers + size * direction)
        size = torch.where(too_high := after > before * (1 + 1e-15) + size * fall, size / 2, size)
        if not too_high.any():
            return size * direction
    return torch.where(too_high, 0.0, size) * direction


def _newton_direction(slopes: Tensor, curves: Tensor, fixed: Tensor) -> Tensor:
    """Return the step to where the loss would be least were it the parabola that it looks like; fixed numbers stay.

    slopes, fixed: [slope and offset, classes]; curves, the second derivatives: [slope, both and offset, classes].
    """
    scale, both, shift = curves
    scale, shift = (torch.where(still, 1.0, curve + 1e-12) for still, curve in zip(fixed, (scale, shift)))
    both = torch.where(fixed.any(0), 0.0, both)
    first, second = torch.where(fixed, 0.0, slopes)
    return -torch.stack([shift * first - both * second, scale * second - both * first]) / (scale * shift - both**2)


def _losses(scaled: Tensor, truth: Tensor, numbers: Tensor) -> Tensor:  # [classes]
    logits = scaled * numbers[0] + numbers[1]
    return binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(0)


def _centre_and_spread(logits: Tensor, per_class: bool, shifts: bool) -> tuple[Tensor, Tensor]:
    """Return what logits are standardised by, each [1] or [classes]; no centre where there is no shift to undo it.

    Far from 0, slope and shift all but do the same: from 1e4 spreads on L-BFGS, from 5e5 on Newton's method misses the least
    loss of logits that are only divided.
    """
    sets = logits if per_class else logits.reshape(-1, 1)
    centre, spread = sets.mean(0), sets.std(0, correction=0)
    return centre * shifts, torch.where(sets.amax(0) > sets.amin(0), spread, 1.0)  # rounded, equal ones have a spread


def _of_logits(slope: Tensor, offset: Tensor, centre: Tensor, spread: Tensor) -> Scaling:
    """Convert a slope and an offset of standardised logits, each [1] or [classes], to those of the logits."""
    return Scaling(slope / spread, offset - slope * (centre / spread))


def _least_cross_entropy(logits: Tensor, labels: Tensor, *, per_class: bool, shifts: bool) -> Scaling:
    """Find the least cross-entropy of logits [rows, classes], in which classes meet; labels [rows].

    L-BFGS within bounds, of logits that are standardised, so that one bound does for all.
    """
    centre, spread = _centre_and_spread(logits, per_class, shifts)
    scaled, count = (logits - centre) / spread, len(spread)
    farthest = STEEPEST * (1 + scaled.abs().max().item())

    def loss_and_slopes(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        scale, shift = torch.from_numpy(numbers).split(count)
        tried = scaled * scale + shift
        wrong = tried.softmax(1)
        wrong[torch.arange(len(labels)), labels] -= 1
        slopes = torch.stack([(wrong * scaled).sum(0), wrong.sum(0)]) / len(labels)
        return cross_entropy(tried, labels).item(), (slopes if per_class else slopes.sum(1)).flatten().numpy()

    start = np.concatenate([np.ones(count), np.zeros(count)])
    bounds = [(FLATTEST, STEEPEST)] * count + [(-farthest, farthest) if shifts else (0.0, 0.0)] * count
    found = minimize(
        loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-9}
    ).x
    scale, shift = torch.from_numpy(found).split(count)
    return _of_logits(scale, shift, centre, spread)
