"""Compute confidence intervals of a score, or of the difference of two, over groups of clips that belong together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from torch import Tensor
from torch.nn.functional import embedding_bag

from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
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


@dataclass(frozen=True)
class Resampling:
    """How often groups are drawn, and the share of the distribution that an interval holds."""

    draws: int = 1000
    level: float = 0.95
    seed: int = 0


USUAL = Resampling()


def confidence_interval(
    score: Score, groups: Sequence[object], how: Resampling = USUAL, *, progress: ShowProgress = show_nothing
) -> Interval:
    """Compute the interval of a score over groups of rows: the bootstrap's, or Student's where there are few groups.

    groups [rows]: rows with the same value are drawn together, such as a recordist's, see `join_groups`; with `range(rows)`,
    each is alone. Rows that are alike and not grouped make the interval too narrow. progress: of the draws.
    """
    whole, found = _distribution(score, groups, how, progress)
    return _interval(whole, found, how.level)


def compare(first: Score, second: Score, groups: Sequence[object], how: Resampling = USUAL) -> Comparison:
    """Compute how much better one score is than another on the same rows. What both find hard cancels out.

    groups as for `confidence_interval`.
    """
    whole, found = _distribution(lambda counts: first(counts) - second(counts), groups, how)
    ahead = math.nan if found is None else 1 - found.below(0.0)
    return Comparison(_interval(whole, found, how.level, lowest=-1.0), ahead)


def _distribution(
    score: Score, groups: Sequence[object], how: Resampling, progress: ShowProgress = show_nothing
) -> tuple[float, Percentiles | Student | None]:
    """Return the score of all rows, and where scores of such rows lie; None where it is not defined."""
    of_row = _group_numbers(groups)
    whole = score(torch.ones(1, len(of_row), dtype=torch.float64)).item()
    if int(of_row.max()) + 1 < FEW:
        return whole, _student(score, of_row, whole, how, progress)
    return whole, _percentiles(whole, _scores_of_draws(score, groups, how, progress), how.level)


def _scores_of_draws(score: Score, groups: Sequence[object], how: Resampling, progress: ShowProgress) -> Tensor:
    """Score every draw; [draws] without those for which the score is not defined."""
    values: list[Tensor] = []
    for counts in resamples(groups, how):
        values.append(score(counts))
        progress(sum(map(len, values)), how.draws)
    drawn = torch.cat(values)
    return drawn[~drawn.isnan()]


def _student(score: Score, of_row: Tensor, whole: float, how: Resampling, progress: ShowProgress) -> Student | None:
    """Put Student's t around the score of few groups, with the jackknife's error: each group is left out in turn.

    of_row: the number of each row's group, [rows]. It holds what it says with few groups, of any sizes, where draws of the
    groups are too alike (MacKinnon, Nielsen and Webb 2023, doi 10.1002/jae.2969, who call that error CV3).
    """
    total = int(of_row.max()) + 1
    left_out = score((of_row != torch.arange(total)[:, None]).double())
    left_out = left_out[~left_out.isnan()]
    count = len(left_out)
    if math.isnan(whole) or count < 2:
        return None
    error = (left_out.var(correction=0) * (count - 1)).sqrt().item()
    # Few groups may agree by luck: not better than their rows would if they were not alike within a group.
    alone = _scores_of_draws(score, range(len(of_row)), how, progress)
    return Student(whole, max(error, alone.std(correction=0).nan_to_num(0.0).item()), count - 1)


def _percentiles(whole: float, values: Tensor, level: float) -> Percentiles | Student | None:
    """Return corrected percentiles where the draws [draws] reach both ends of the interval and the score, else a normal."""
    if math.isnan(whole) or not len(values):
        return None
    ranked = Percentiles(whole, values.sort().values)
    low, high = (1 - level) / 2, (1 + level) / 2
    if ranked.reaches(low) and ranked.reaches(high) and ranked.quantile(low) <= whole <= ranked.quantile(high):
        return ranked
    # So far out, as with hundreds of rare classes, that draws do not reach to the corrected percentiles. Plain ones need
    # not hold the value, nor need reflected ones; normal quantiles of the draws' spread do (Efron and Tibshirani 1993,
    # chapter 13), up to what a score can be.
    return Student(whole, values.std(correction=0).item(), math.inf)


def _interval(whole: float, found: Percentiles | Student | None, level: float, lowest: float = 0.0) -> Interval:
    """Return the interval of that level. lowest: that the value can be, as 1 is the highest."""
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
        self.bias = float(ndtri((sum(self._reached(whole)) + 1) / 2 / (len(ordered) + 1)))

    def _reached(self, value: float) -> tuple[int, int]:
        """Count the draws below a value, and those that are not above it."""
        low, high = (int(torch.searchsorted(self.ordered, value, side=side)) for side in ("left", "right"))
        return low, high

    def _rank(self, share: float) -> int:
        """Return the number of the draw, from 1 on, that is the corrected quantile."""
        return math.ceil(float(ndtr(2 * self.bias + float(ndtri(share)))) * (len(self.ordered) + 1))

    def reaches(self, share: float) -> bool:
        return 1 < self._rank(share) < len(self.ordered)

    def quantile(self, share: float) -> float:
        """Return the value below which so much of the distribution lies."""
        return self.ordered[self._rank(share) - 1].item()

    def below(self, value: float) -> float:
        """Return how much lies below a value; what lies on it counts for the side that is nearer to a half."""
        total = len(self.ordered)
        ends = [count / (total + 1) if count < total else 1.0 for count in self._reached(value)]
        low, high = (float(ndtr(float(ndtri(end)) - 2 * self.bias)) for end in ends)
        return min(max(low, 0.5), high)


class Student:
    """Student's t around a value, with so many degrees of freedom; the normal distribution with infinitely many."""

    def __init__(self, value: float, error: float, freedom: float) -> None:
        self.value, self.error, self.freedom = value, error, freedom

    def quantile(self, share: float) -> float:
        """Return the value below which so much of the distribution lies."""
        far = ndtri(share) if math.isinf(self.freedom) else stdtrit(self.freedom, share)
        return self.value + self.error * float(far)

    def below(self, value: float) -> float:
        """Return how much of the distribution lies below a value."""
        if not self.error:
            return 0.5 if value == self.value else float(self.value < value)
        far = (value - self.value) / self.error
        return float(ndtr(far) if math.isinf(self.freedom) else stdtr(self.freedom, far))


def _group_numbers(groups: Sequence[object]) -> Tensor:  # [rows]
    of_row, names = pd.factorize(pd.Series(list(groups), dtype=object), use_na_sentinel=False)
    if len(names) < 2:
        raise OscineError(f"all {len(of_row)} rows are of one group; an interval needs at least two, better thirty")
    return torch.from_numpy(of_row)


def resamples(groups: Sequence[object], how: Resampling) -> Iterator[Tensor]:
    """Draw as many groups as there are; yield how often each row is drawn [draws, rows], a chunk of the draws at a time."""
    of_row = _group_numbers(groups)
    total = int(of_row.max()) + 1
    generator = torch.Generator().manual_seed(how.seed)
    left = how.draws
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
    return ratio(hits, labelled)


def mean_average_precision(logits: Tensor, targets: Tensor) -> Score:
    """Macro average precision without the classes that have no positives among the rows drawn, as `Metrics.cmap`.

    For one label a row, give the softmax and one-hot targets. Both [rows, classes].
    """

    def average_precision(counts: RankCounts) -> Tensor:
        hits = counts.positives.cumsum(0)
        return (counts.positives * hits / (counts.above + counts.tied).clamp(min=1)).sum(0) / hits[-1]

    return _mean_over_classes(average_precision, logits, targets)


def mean_auroc(logits: Tensor, targets: Tensor) -> Score:
    """Macro area under the ROC curve of the classes with positives and negatives among the rows drawn, `Metrics.auroc`."""

    def area(counts: RankCounts) -> Tensor:
        positives = counts.positives
        hits = positives.cumsum(0)
        negatives = counts.rows - hits[-1]
        beaten = negatives - (counts.above - (hits - positives)) - (counts.tied - positives) / 2
        return (positives * beaten).sum(0) / (hits[-1] * negatives)

    return _mean_over_classes(area, logits, targets)


def ratio(part: Tensor, whole: Tensor) -> Score:
    """Return a ratio of sums over rows, each [rows]: hits of all rows; for F1, twice the matches of all compared."""
    part, whole = part.double(), whole.double()
    return lambda counts: counts @ part / (counts @ whole)


def over_parts(scores: Sequence[Score], rows: Sequence[Tensor]) -> Score:
    """Return the mean over parts, such as folds; rows: the numbers of those that each part's score takes, in its order."""

    def mean(counts: Tensor) -> Tensor:
        values = [score(counts[:, own]) for score, own in zip(scores, rows, strict=True)]
        return torch.stack(values).nanmean(0)

    return mean


class RankCounts(NamedTuple):
    """Rows drawn at each score that a positive has, the highest score first; [scores, draws].

    positives: with this score. above, tied: rows of either kind with higher scores, and with this one. rows: all, [draws].
    """

    positives: Tensor
    above: Tensor
    tied: Tensor
    rows: Tensor


class RankedScores:
    """The rows by a class's scores [rows], the highest first, of which targets [rows] names the positives.

    A curve moves at positives alone, and they are few: between them, rows need only be counted. Of seven rows whose scores
    are 9 8 8 6 5 5 2, with positives (+) at 8 and 5, `bounds` begins the bags

        row      0 | 1  2 | 3 | 4  5 | 6
        score    9 | 8  8 | 6 | 5  5 | 2
        positive   | +    |   | +  + |
        bounds   0   1      3   4      6

    of which every second one, from the second on, holds the rows that tie with a positive.
    """

    def __init__(self, scores: Tensor, targets: Tensor) -> None:
        ordered, self.order = scores.sort(descending=True)
        hits = targets[self.order].bool()
        tie = (ordered.diff(prepend=ordered[:1]) != 0).cumsum(0)  # the number of each row's score
        of_positives, sizes = tie[hits].unique_consecutive(return_counts=True)
        self.positives, self.starts = self.order[hits], sizes.cumsum(0) - sizes
        ends = [torch.searchsorted(tie, of_positives, side=side) for side in ("left", "right")]
        self.bounds = torch.cat([sizes.new_zeros(1), torch.stack(ends, dim=1).flatten()])

    def resample(self, table: Tensor) -> RankCounts:
        """Count what was drawn. table: how often each row was drawn, [rows, draws]."""
        bags = embedding_bag(self.order, table, self.bounds, mode="sum").double()
        reached = bags.cumsum(0)
        positives = embedding_bag(self.positives, table, self.starts, mode="sum").double()
        return RankCounts(positives, above=reached[:-1:2], tied=bags[1::2], rows=reached[-1])


def _mean_over_classes(summary: Callable[[RankCounts], Tensor], logits: Tensor, targets: Tensor) -> Score:
    """Return the mean of a score over the classes that have positives. logits and targets [rows, classes]."""
    _check(logits, targets)
    columns = zip(logits.detach().cpu().double().T, targets.cpu().T, strict=True)
    ranked = [RankedScores(scores, wanted) for scores, wanted in columns if wanted.any()]

    def score(counts: Tensor) -> Tensor:
        whole = counts.sum(1).max() < EXACT
        table = counts.T.to(torch.float32 if whole else torch.float64).contiguous()
        values = [summary(one.resample(table)) for one in ranked] or [counts.new_full((len(counts),), math.nan)]
        return torch.stack(values).nanmean(0)

    return score


def _check(logits: Tensor, targets: Tensor) -> None:
    check_logits(logits)
    check_targets(logits, targets)
