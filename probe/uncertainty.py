"""How sure a score is, and a difference of two: the bootstrap over clips, or over groups of clips that belong together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.probe.metrics import check_logits, check_targets

# From how often each row was drawn [draws, rows] to the score of each draw [draws]; NaN where it is not defined.
Score = Callable[[Tensor], Tensor]
AT_ONCE = 200_000  # draws times rows that are held at once: what fits a cache is faster


class Interval(NamedTuple):
    """A score of all rows, and what it may as well have been; NaN where it is not defined."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """One score minus another on the same draws.

    ahead: the share of draws in which the first is higher, ties counting half; near 0 or 1 is a clear difference.
    """

    difference: Interval
    ahead: float


def bootstrap(
    score: Score, groups: Sequence[object], draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The bootstrap interval of a score, for groups that are drawn with replacement.

    groups [rows]: rows with the same value are drawn together, such as a recordist's, see `join_groups`; with `range(rows)`,
    each is alone. Rows that are alike and not grouped make the interval too narrow; so do few groups.
    """
    values = torch.cat([score(counts) for counts in resamples(groups, draws, seed)])
    return _interval(score(torch.ones(1, len(groups), dtype=torch.float64)), values, level)


def compare(
    first: Score, second: Score, groups: Sequence[object], draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Comparison:
    """How much better the first is on the same rows: two encoders, two probes. What both find hard cancels out.

    Other arguments as for `bootstrap`.
    """

    def difference(counts: Tensor) -> Tensor:
        return first(counts) - second(counts)

    values = torch.cat([difference(counts) for counts in resamples(groups, draws, seed)])
    whole = difference(torch.ones(1, len(groups), dtype=torch.float64))
    defined = values[~values.isnan()]
    ahead = (defined > 0).double().mean() + (defined == 0).double().mean() / 2
    return Comparison(_interval(whole, values, level), ahead.item())


def resamples(groups: Sequence[object], draws: int, seed: int) -> Iterator[Tensor]:
    """How often each row is drawn [draws, rows], a chunk of the draws at a time."""
    of_row, names = pd.factorize(pd.Series(list(groups), dtype=object), use_na_sentinel=False)
    total = len(names)
    if total < 2:
        raise OscineError(f"all {len(of_row)} rows are of one group; an interval needs at least two, better thirty")
    generator = torch.Generator().manual_seed(seed)
    left = draws
    while left:
        chunk = min(left, math.ceil(AT_ONCE / len(of_row)))
        drawn = torch.randint(total, (chunk, total), generator=generator)
        counts = torch.zeros(chunk, total, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        yield counts[:, torch.from_numpy(of_row)]
        left -= chunk


def accuracy(logits: Tensor, targets: Tensor) -> Score:
    """Top-1 as in `Metrics.accuracy`; logits and targets [rows, classes]."""
    _check(logits, targets)
    targets = targets.bool()
    labelled = targets.any(1)
    hits = targets.gather(1, logits.argmax(1, keepdim=True))[:, 0] & labelled
    return share(hits, labelled)


def mean_average_precision(logits: Tensor, targets: Tensor) -> Score:
    """Macro average precision without the classes that have no positives among the rows drawn, as `Metrics.cmap`.

    For one label a row, give the softmax and one-hot targets. Both [rows, classes].
    """

    def average_precision(hits: Tensor, rows: Tensor) -> Tensor:
        gained = hits.diff(dim=1, prepend=torch.zeros_like(hits[:, :1]))
        return (gained * hits / rows.clamp(min=1)).sum(1) / hits[:, -1]

    return _mean_of_curves(average_precision, logits, targets)


def mean_auroc(logits: Tensor, targets: Tensor) -> Score:
    """Macro area under the ROC curve of the classes with positives and negatives among the rows drawn, `Metrics.auroc`."""

    def area(hits: Tensor, rows: Tensor) -> Tensor:
        alarms = rows - hits
        wide = alarms.diff(dim=1, prepend=torch.zeros_like(hits[:, :1]))
        before = hits.roll(1, 1)
        before[:, 0] = 0
        return (wide * (hits + before) / 2).sum(1) / (hits[:, -1] * alarms[:, -1])

    return _mean_of_curves(area, logits, targets)


def share(part: Tensor, whole: Tensor) -> Score:
    """A ratio of sums over rows, each [rows]. Hits of all rows; or, for F1, twice the matches of all that is compared."""
    part, whole = part.double(), whole.double()
    return lambda counts: counts @ part / (counts @ whole)


def over_parts(scores: Sequence[Score], rows: Sequence[Tensor]) -> Score:
    """The mean over parts, such as folds; rows: the numbers of those that each part's score takes, in its order."""
    return lambda counts: torch.stack([score(counts[:, own]) for score, own in zip(scores, rows, strict=True)]).nanmean(
        0
    )


def _mean_of_curves(summary: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Score:
    """The mean over classes of what is made of (hits, rows) [draws, thresholds] among the best, ever more of them."""
    _check(logits, targets)
    ordered, order = logits.detach().cpu().double().sort(dim=0, descending=True)
    truth = targets.cpu().double().gather(0, order)
    final = torch.ones(1, dtype=torch.bool)
    ends = [torch.cat([column[1:] != column[:-1], final]) for column in ordered.T]  # of scores that tie

    def score(counts: Tensor) -> Tensor:
        values = []
        for places, true, end in zip(order.T, truth.T, ends, strict=True):
            drawn = counts[:, places]
            values.append(summary((drawn * true).cumsum(1)[:, end], drawn.cumsum(1)[:, end]))
        return torch.stack(values).nanmean(0)

    return score


def _interval(whole: Tensor, values: Tensor, level: float) -> Interval:
    """Bias-corrected percentiles (Efron 1987, doi 10.1080/01621459.1987.10478410).

    A rare class with few positives is missing from many draws, which raises the mean over the others: without the correction
    a macro score may lie at the very edge of its own interval.
    """
    defined = values[~values.isnan()]
    if not len(defined) or whole.isnan():
        return Interval(whole.item(), math.nan, math.nan)
    below = ((defined < whole).double().mean() + (defined <= whole).double().mean()) / 2
    bias = torch.special.ndtri(below.clamp(0.5 / len(defined), 1 - 0.5 / len(defined)))
    half = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64))
    low, high = defined.quantile(torch.special.ndtr(2 * bias + torch.stack([-half, half]))).tolist()
    return Interval(whole.item(), low, high)


def _check(logits: Tensor, targets: Tensor) -> None:
    check_logits(logits)
    check_targets(logits, targets)
