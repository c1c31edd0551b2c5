"""Judge curves of scores over labels: areas, wins, paired differences, labels to reach a score."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate, stats

from oscine.models.errors import OscineError

EXACT = 12  # runs of which all 2^12 patterns of signs are counted
PATTERNS = 10_000  # that are drawn of more runs
ROUNDING = 1e-12  # sums that differ by such a share are equal


class Wins(NamedTuple):
    """How often one strategy's score is above another's, [strategies, strategies].

    shares   of the points at which the row's is above the column's, a tie being half a win
    ties     shares of the points at which both are equal
    """

    shares: np.ndarray
    ties: np.ndarray


class Difference(NamedTuple):
    """A mean difference between paired runs, its 95 % t interval, and how often flipped signs give one as large."""

    mean: float
    low: float
    high: float
    p: float
    runs: int


def area(labels: ArrayLike, scores: ArrayLike) -> np.ndarray:  # [...]
    """Return the mean height of curves, by labels: batches of unequal sizes count as what they cost.

    labels [points] or [..., points], rising; scores [..., points]. Where no label was bought, the last score.
    """
    bought, heights = (np.asarray(values, dtype=np.float64) for values in (labels, scores))
    span = bought[..., -1] - bought[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(span > 0, integrate.trapezoid(heights, bought) / span, heights[..., -1])


def area_by_cycle(scores: ArrayLike) -> np.ndarray:  # [...]
    """Return the mean height of curves [..., points] over the numbers of their points, as ActiveGLAE prints it."""
    return area(np.arange(np.shape(scores)[-1]), scores)


def win_matrix(curves: ArrayLike) -> Wins:
    """Count who is above whom at every point after the first, where all have the same labels.

    curves: scores [strategies, runs, points], runs paired: of one task and one seed.
    """
    scores = np.asarray(curves, dtype=np.float64)
    if scores.ndim != 3 or scores.shape[2] < 2:
        raise OscineError(f"curves of shape {scores.shape}, expected [strategies, runs, points] with 2 points or more")
    later = scores[:, :, 1:].reshape(len(scores), -1)
    above = np.array([(one > later).mean(1) for one in later])
    ties = np.array([(one == later).mean(1) for one in later])
    return Wins(above + ties / 2, ties)


def paired_difference(ours: ArrayLike, theirs: ArrayLike) -> Difference:
    """Compare two strategies by one number a run, the runs paired. ours and theirs [runs].

    Of several tasks each gives one number, the mean over its seeds: seeds of a task are no tasks. The p-value is two-sided,
    from all patterns of signs up to `EXACT` runs, else from `PATTERNS` drawn ones. A single run has no interval.
    """
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    runs, mean = len(differences), float(differences.mean())
    if runs < 2:
        return Difference(mean, np.nan, np.nan, np.nan, runs)
    if not np.ptp(differences):  # no spread, of which the interval would be a division by 0
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 2 ** (1 - runs), runs)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    return Difference(mean, float(low), float(high), _sign_flip(differences), runs)


def _sign_flip(differences: np.ndarray) -> float:
    """Return the share of patterns of signs whose sum is as far from 0 as that of the differences [runs]."""
    runs, seen = len(differences), abs(differences.sum())
    if runs <= EXACT:
        return float((_sums(list(product((1, -1), repeat=runs)), differences) >= seen * (1 - ROUNDING)).mean())
    drawn = np.random.default_rng(0).choice((1, -1), (PATTERNS, runs))
    hits = (_sums(drawn, differences) >= seen * (1 - ROUNDING)).sum()
    return float((hits + 1) / (PATTERNS + 1))  # the runs as they are belong to the patterns


def _sums(signs: ArrayLike, differences: np.ndarray) -> np.ndarray:  # [patterns]
    return np.abs(np.asarray(signs) @ differences)


def labels_to_reach(labels: ArrayLike, scores: ArrayLike, level: ArrayLike) -> np.ndarray:  # [...]
    """Return the labels at which curves first reach a score; infinity where they do not.

    labels [points] or [..., points]; scores [..., points]; level one for all, or [...].
    """
    heights = np.asarray(scores, dtype=np.float64)
    bought = np.broadcast_to(np.asarray(labels, dtype=np.float64), heights.shape)
    reached = heights >= np.asarray(level)[..., None]
    return np.where(reached, bought, np.inf).min(-1)


def label_ratio(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Return how many labels one strategy needs for each that another needs, by the medians over runs.

    ours and theirs [runs]: what `labels_to_reach` gave of both. NaN where either median run does not reach the score.
    """
    mine, other = float(np.median(np.asarray(ours))), float(np.median(np.asarray(theirs)))
    return mine / other if np.isfinite([mine, other]).all() and other else float("nan")


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's rank correlation of two numbers an encoder; NaN below 3 encoders, or where one is constant."""
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(one) < 3 or not np.ptp(one) or not np.ptp(other):
        return float("nan")
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])
