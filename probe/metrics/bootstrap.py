"""How sure a score is, and a difference of two: intervals over clips, or over groups of clips that belong together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import pandas as pd
import torch
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from torch import Tensor
from torch.nn.functional import embedding_bag

from oscine.models.errors import OscineError
from oscine.probe.metrics.metrics import check_logits, check_targets

# From how often each row was drawn [draws, rows] to the score of each draw [draws], 0 to 1; NaN where it is not defined.
Score = Callable[[Tensor], Tensor]
AT_ONCE = 1_000_000  # draws times rows that are held at once: what fits a cache is faster
# Groups below which intervals are Student's. In 300 simulated tables of each kind, with 10 to 30 clips a group and groups
# that differ or not, 95 % intervals of the bootstrap held the truth in 50 to 64 % of 2 groups, 65 to 76 % of 3, 75 to 86 %
# of 5, 84 to 91 % of 9 or 10, 89 to 95 % of 20; Student's in 96 to 100 % of 2 to 4, 92 to 100 % of 5, 91 to 99 % of 9 or 10.
FEW = 20
EXACT = 2**24  # up to which float32 counts without error, in a tenth of the time of float64


class Interval(NamedTuple):
    """A score of all rows, and what it may as well have been: low <= value <= high; NaN where it is not defined."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """One score minus another on the same rows.

    ahead: the share of the difference's distribution that lies above 0. The interval leaves 0 out just where it is beyond
    the level: above 0.975, or not above 0.025, for 0.95.
    """

    difference: Interval
    ahead: float


class Distribution(Protocol):
    """Where a score may lie that rows like these give: an interval and a share of it are of one and the same."""

    def quantile(self, share: float) -> float:
        """The value below which so much of it lies."""
        ...

    def below(self, value: float) -> float:
        """How much of it lies below a value; what lies on it counts for the side that is nearer to a half."""
        ...


def confidence_interval(
    score: Score,
    groups: Sequence[object],
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Interval:
    """The interval of a score over groups of rows: the bootstrap's, or Student's where there are few groups.

    groups [rows]: rows with the same value are drawn together, such as a recordist's, see `join_groups`; with `range(rows)`,
    each is alone. Rows that are alike and not grouped make the interval too narrow. progress: called with the draws that are
    done.
    """
    whole, found = _distribution(score, groups, draws, level, seed, progress)
    return _interval(whole, found, level)


def compare(
    first: Score, second: Score, groups: Sequence[object], draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Comparison:
    """How much better the first is on the same rows: two encoders, two probes. What both find hard cancels out.

    Other arguments as for `confidence_interval`.
    """

    def difference(counts: Tensor) -> Tensor:
        return first(counts) - second(counts)

    whole, found = _distribution(difference, groups, draws, level, seed)
    return Comparison(_interval(whole, found, level, lowest=-1.0), math.nan if found is None else 1 - found.below(0.0))


def _distribution(
    score: Score,
    groups: Sequence[object],
    draws: int,
    level: float,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[float, Distribution | None]:
    """The score of all rows, and its distribution; None where it is not defined."""
    of_row = _group_numbers(groups)
    whole, total = score(torch.ones(1, len(of_row), dtype=torch.float64)).item(), int(of_row.max()) + 1
    if total < FEW:
        return whole, _student(score, of_row, whole, draws, seed, progress)
    values = _of_draws(score, groups, draws, seed, progress)
    return whole, _bootstrapped(whole, values[~values.isnan()], level)


def _of_draws(
    score: Score, groups: Sequence[object], draws: int, seed: int, progress: Callable[[int], None]
) -> Tensor:  # [draws]
    values: list[Tensor] = []
    for counts in resamples(groups, draws, seed):
        values.append(score(counts))
        progress(sum(map(len, values)))
    return torch.cat(values)


def _student(
    score: Score, of_row: Tensor, whole: float, draws: int, seed: int, progress: Callable[[int], None]
) -> Distribution | None:
    """Of few groups: Student's t around the score, with the jackknife's error, each group being left out in turn.

    It holds what it says with few groups, of any sizes, where draws of the groups are too alike (MacKinnon, Nielsen and
    Webb 2023, doi 10.1002/jae.2969, who call that error CV3).
    """
    total = int(of_row.max()) + 1
    left_out = score((of_row != torch.arange(total)[:, None]).double())
    left_out = left_out[~left_out.isnan()]
    count = len(left_out)
    if math.isnan(whole) or count < 2:
        return None
    error = (left_out.var(correction=0) * (count - 1)).sqrt().item()
    # Few groups may agree by luck: not better than their rows would if they were not alike within a group.
    alone = _of_draws(score, range(len(of_row)), draws, seed, progress)
    return Student(whole, max(error, alone[~alone.isnan()].std(correction=0).nan_to_num(0.0).item()), count - 1)


def _bootstrapped(whole: float, values: Tensor, level: float) -> Distribution | None:
    """Corrected percentiles where draws reach to both ends of the interval and around the value, else a normal."""
    if math.isnan(whole) or not len(values):
        return None
    ranked = Percentiles(whole, values.sort().values)
    tail = (1 - level) / 2
    if (
        ranked.reaches(tail)
        and ranked.reaches(1 - tail)
        and ranked.quantile(tail) <= whole <= ranked.quantile(1 - tail)
    ):
        return ranked
    # So far out, as with hundreds of rare classes, that draws do not reach to the corrected percentiles. Plain ones need
    # not hold the value, nor need reflected ones; normal quantiles of the draws' spread do (Efron and Tibshirani 1993,
    # chapter 13), up to what a score can be.
    return Student(whole, values.std(correction=0).item(), math.inf)


def _interval(whole: float, found: Distribution | None, level: float, lowest: float = 0.0) -> Interval:
    """lowest: that the value can be, as 1 is the highest."""
    if found is None:
        return Interval(whole, math.nan, math.nan)
    low, high = (min(max(found.quantile(share), lowest), 1.0) for share in ((1 - level) / 2, (1 + level) / 2))
    return Interval(whole, low, high)


class Percentiles:
    """Bias-corrected percentiles of draws (Efron 1987, doi 10.1080/01621459.1987.10478410).

    A rare class with few positives is missing from many draws, which raises the mean over the others: without the correction
    a macro score may lie at the very edge of its own interval. Draw number k of n lies at k / (n + 1) (Davison and Hinkley
    1997, section 5.2); steps, not lines between draws, so that quantiles and shares never contradict each other.
    """

    def __init__(self, whole: float, ordered: Tensor) -> None:
        self.ordered = ordered
        self.bias = _normal_quantile(
            (self._reached(whole, False) + self._reached(whole, True) + 1) / 2 / (len(ordered) + 1)
        )

    def _reached(self, value: float, itself: bool) -> int:
        """How many draws are below a value, or as low."""
        return int(torch.searchsorted(self.ordered, value, side="right" if itself else "left"))

    def _rank(self, share: float) -> int:
        """The draw, from 1 on, that is the corrected quantile."""
        return math.ceil(_normal_share(2 * self.bias + _normal_quantile(share)) * (len(self.ordered) + 1))

    def reaches(self, share: float) -> bool:
        return 1 < self._rank(share) < len(self.ordered)

    def quantile(self, share: float) -> float:
        return self.ordered[self._rank(share) - 1].item()

    def below(self, value: float) -> float:
        reached, total = [self._reached(value, itself) for itself in (False, True)], len(self.ordered)
        ends = [count / (total + 1) if count < total else 1.0 for count in reached]
        low, high = (_normal_share(_normal_quantile(end) - 2 * self.bias) for end in ends)
        return min(max(low, 0.5), high)


class Student:
    """Student's t around a value, with so many degrees of freedom; the normal distribution with infinitely many."""

    def __init__(self, value: float, error: float, freedom: float) -> None:
        self.value, self.error, self.freedom = value, error, freedom

    def quantile(self, share: float) -> float:
        far = _normal_quantile(share) if math.isinf(self.freedom) else stdtrit(self.freedom, share)
        return self.value + self.error * float(far)

    def below(self, value: float) -> float:
        if not self.error:
            return 0.5 if value == self.value else float(self.value < value)
        far = (value - self.value) / self.error
        return _normal_share(far) if math.isinf(self.freedom) else float(stdtr(self.freedom, far))


def _normal_quantile(share: float) -> float:
    return float(ndtri(share))


def _normal_share(far: float) -> float:
    return float(ndtr(far))


def _group_numbers(groups: Sequence[object]) -> Tensor:  # [rows]
    of_row, names = pd.factorize(pd.Series(list(groups), dtype=object), use_na_sentinel=False)
    if len(names) < 2:
        raise OscineError(f"all {len(of_row)} rows are of one group; an interval needs at least two, better thirty")
    return torch.from_numpy(of_row)


def resamples(groups: Sequence[object], draws: int, seed: int) -> Iterator[Tensor]:
    """How often each row is drawn [draws, rows], a chunk of the draws at a time."""
    of_row = _group_numbers(groups)
    total = int(of_row.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    left = draws
    while left:
        chunk = min(left, math.ceil(AT_ONCE / len(of_row)))
        drawn = torch.randint(total, (chunk, total), generator=generator)
        counts = torch.zeros(chunk, total, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones_like(counts))
        yield counts[:, of_row]
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


def _check(logits: Tensor, targets: Tensor) -> None:
    check_logits(logits)
    check_targets(logits, targets)
