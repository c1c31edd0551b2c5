"""How sure a score is, and a difference of two: the bootstrap over clips, or over groups of clips that belong together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from oscine.models.errors import OscineError
from oscine.probe.metrics import check_logits, check_targets

# From how often each row was drawn [draws, rows] to the score of each draw [draws], 0 to 1; NaN where it is not defined.
Score = Callable[[Tensor], Tensor]
AT_ONCE = 1_000_000  # draws times rows that are held at once: what fits a cache is faster
EXACT = 2**24  # up to which float32 counts without error, in a tenth of the time of float64


class Interval(NamedTuple):
    """A score of all rows, and what it may as well have been: low <= value <= high; NaN where it is not defined."""

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
    return Comparison(_interval(whole, values, level, lowest=-1.0), ahead.item())


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

    def average_precision(found: Found) -> Tensor:
        hits = found.gained.cumsum(0)
        return (found.gained * hits / (found.above + found.tied).clamp(min=1)).sum(0) / hits[-1]

    return _mean_over_classes(average_precision, logits, targets)


def mean_auroc(logits: Tensor, targets: Tensor) -> Score:
    """Macro area under the ROC curve of the classes with positives and negatives among the rows drawn, `Metrics.auroc`."""

    def area(found: Found) -> Tensor:
        hits = found.gained.cumsum(0)
        negatives = found.rows - hits[-1]
        beaten = negatives - (found.above - (hits - found.gained)) - (found.tied - found.gained) / 2
        return (found.gained * beaten).sum(0) / (hits[-1] * negatives)

    return _mean_over_classes(area, logits, targets)


def share(part: Tensor, whole: Tensor) -> Score:
    """A ratio of sums over rows, each [rows]. Hits of all rows; or, for F1, twice the matches of all that is compared."""
    part, whole = part.double(), whole.double()
    return lambda counts: counts @ part / (counts @ whole)


def over_parts(scores: Sequence[Score], rows: Sequence[Tensor]) -> Score:
    """The mean over parts, such as folds; rows: the numbers of those that each part's score takes, in its order."""
    return lambda counts: torch.stack([score(counts[:, own]) for score, own in zip(scores, rows, strict=True)]).nanmean(
        0
    )


class Found(NamedTuple):
    """What is drawn of a class's scores, the highest first: every score that a positive has is a place, [place, draws].

    gained: positives at a place. above, tied: rows of either kind with higher scores, and with this one. rows: all, [draws].
    """

    gained: Tensor
    above: Tensor
    tied: Tensor
    rows: Tensor


class Ranking:
    """The rows by a class's scores [rows], the highest first, of which targets [rows] names the positives.

    A curve moves at positives alone, and they are few: between them, rows need only be counted.
    """

    def __init__(self, scores: Tensor, targets: Tensor) -> None:
        ordered, self.order = scores.sort(descending=True)
        hits = targets[self.order].bool()
        tie = (ordered.diff(prepend=ordered[:1]) != 0).cumsum(0)  # the number of each row's score
        places, sizes = tie[hits].unique_consecutive(return_counts=True)
        self.positives, self.starts = self.order[hits], sizes.cumsum(0) - sizes
        bounds = torch.stack([torch.searchsorted(tie, places, side=side) for side in ("left", "right")], dim=1)
        self.bounds = torch.cat([bounds.new_zeros(1), bounds.flatten()])  # of what lies between places, and at them

    def count(self, table: Tensor) -> Found:
        """table: how often each row was drawn, [rows, draws]."""
        counts = embedding_bag(self.order, table, self.bounds, mode="sum").double()
        reached = counts.cumsum(0)
        gained = embedding_bag(self.positives, table, self.starts, mode="sum").double()
        return Found(gained, reached[:-1:2], counts[1::2], reached[-1])


def _mean_over_classes(summary: Callable[[Found], Tensor], logits: Tensor, targets: Tensor) -> Score:
    """The mean over the classes that have positives."""
    _check(logits, targets)
    columns = zip(logits.detach().cpu().double().T, targets.cpu().T, strict=True)
    rankings = [Ranking(scores, wanted) for scores, wanted in columns if wanted.any()]

    def score(counts: Tensor) -> Tensor:
        whole = counts.sum(1).max() < EXACT
        table = counts.T.to(torch.float32 if whole else torch.float64).contiguous()
        values = [summary(ranking.count(table)) for ranking in rankings] or [counts.new_full((len(counts),), math.nan)]
        return torch.stack(values).nanmean(0)

    return score


def _interval(whole: Tensor, values: Tensor, level: float, lowest: float = 0.0) -> Interval:
    """Bias-corrected percentiles (Efron 1987, doi 10.1080/01621459.1987.10478410), else the standard bootstrap interval.

    A rare class with few positives is missing from many draws, which raises the mean over the others: without the correction
    a macro score may lie at the very edge of its own interval. lowest: that the value can be, as 1 is the highest.
    """
    defined = values[~values.isnan()]
    if not len(defined) or whole.isnan():
        return Interval(whole.item(), math.nan, math.nan)
    below = ((defined < whole).double().mean() + (defined <= whole).double().mean()) / 2
    bias = torch.special.ndtri(below.clamp(0.5 / len(defined), 1 - 0.5 / len(defined)))
    half = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64))
    ends = torch.stack([-half, half])
    shares = torch.special.ndtr(2 * bias + ends)
    if shares.min() < 1 / len(defined) or shares.max() > 1 - 1 / len(defined):
        # So far out, as with hundreds of rare classes, that draws do not reach to the corrected percentiles. Plain ones need
        # not hold the value, nor need reflected ones; normal quantiles of the draws' spread do (Efron and Tibshirani 1993,
        # chapter 13), up to what a score can be.
        low, high = (whole + ends * defined.std(correction=0)).clamp(lowest, 1.0).tolist()
    else:
        low, high = defined.quantile(shares).tolist()
    value = whole.item()
    return Interval(value, min(low, value), max(high, value))


def _check(logits: Tensor, targets: Tensor) -> None:
    check_logits(logits)
    check_targets(logits, targets)
