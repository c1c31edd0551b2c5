"""Intervals have the width that theory gives them, and every score of draws is the score of the rows drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.errors import OscineError
from oscine.probe.metrics.bootstrap import (
    Resampling,
    Score,
    accuracy,
    compare,
    confidence_interval,
    mean_auroc,
    mean_average_precision,
    over_parts,
    ratio,
    resamples,
)
from oscine.probe.metrics.metrics import Metrics, multi_label_metrics, single_label_metrics

ROWS = 60


def drawn(seed: int = 0, signal: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits with ties, and targets of which some rows are empty and one class is rare."""
    draw = torch.Generator().manual_seed(0)
    targets = (torch.rand(ROWS, 4, generator=draw) < torch.tensor([0.3, 0.3, 0.3, 0.03])).long()
    noise = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(seed))
    return (noise + signal * targets).mul(4).round() / 4, targets


@pytest.mark.parametrize(
    ("make", "name"), [(accuracy, "accuracy"), (mean_average_precision, "cmap"), (mean_auroc, "auroc")]
)
def test_the_score_of_a_draw_is_that_of_the_rows_drawn(make: Callable[[Tensor, Tensor], Score], name: str) -> None:
    logits, targets = drawn()
    (counts,) = resamples(range(ROWS), Resampling(20, seed=0))
    values = make(logits, targets)(counts)
    for value, count in zip(values, counts, strict=True):
        rows = torch.arange(ROWS).repeat_interleave(count.long())
        found: Metrics = multi_label_metrics(logits[rows], targets[rows])
        assert value.item() == pytest.approx(getattr(found, name))


def plain(logits: Tensor, targets: Tensor, count: Tensor, name: str) -> float:
    """A score of one draw, class by class and threshold by threshold."""
    values = []
    for scores, truth in zip(logits.double().T, targets.double().T, strict=True):
        thresholds = scores.unique().flip(0)
        reached = scores >= thresholds[:, None]  # [threshold, row]
        hits, rows = (reached * count * truth).sum(1), (reached * count).sum(1)
        alarms = rows - hits
        if not hits[-1] or (name == "auroc" and not alarms[-1]):
            continue
        gained, before = hits.diff(prepend=torch.zeros(1)), torch.cat([torch.zeros(1), hits[:-1]])
        if name == "cmap":
            values.append((gained * hits / rows.clamp(min=1)).sum() / hits[-1])
        else:
            wide = alarms.diff(prepend=torch.zeros(1))
            values.append((wide * (hits + before) / 2).sum() / (hits[-1] * alarms[-1]))
    return torch.stack(values).mean().item() if values else math.nan


@pytest.mark.parametrize(("make", "name"), [(mean_average_precision, "cmap"), (mean_auroc, "auroc")])
@pytest.mark.parametrize("levels", [1, 3, 40, 10**6])
@pytest.mark.parametrize("groups", [90, 7])
def test_counting_at_positives_alone_gives_what_every_threshold_gives(
    make: Callable[[Tensor, Tensor], Score], name: str, levels: int, groups: int
) -> None:
    draw = torch.Generator().manual_seed(levels + groups)
    chances = torch.tensor([0.0, 0.01, 0.1, 0.5, 0.97, 1.0])
    targets = (torch.rand(90, 6, generator=draw) < chances).long()
    logits = torch.randint(levels, (90, 6), generator=draw).float()
    score = make(logits, targets)
    for counts in resamples([row % groups for row in range(90)], Resampling(30, seed=1)):
        expected = [plain(logits, targets, count, name) for count in counts]
        assert score(counts).tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("make", [mean_average_precision, mean_auroc])
@pytest.mark.parametrize("many", [2**23 + 1, 2**30 + 1])
def test_any_number_of_rows_is_counted_to_the_last(make: Callable[[Tensor, Tensor], Score], many: int) -> None:
    logits, targets = torch.tensor([[3.0], [2.0], [1.0], [0.0]]), torch.tensor([[1], [0], [1], [0]])
    counts = torch.tensor([[many, 1, many, 1]], dtype=torch.float64)
    name = "cmap" if make is mean_average_precision else "auroc"
    assert make(logits, targets)(counts).item() == pytest.approx(plain(logits, targets, counts[0], name), rel=1e-15)


@pytest.mark.parametrize("make", [mean_average_precision, mean_auroc])
def test_without_any_positive_a_score_is_not_defined(make: Callable[[Tensor, Tensor], Score]) -> None:
    score = make(torch.randn(9, 2), torch.zeros(9, 2))
    assert score(torch.ones(4, 9, dtype=torch.float64)).isnan().tolist() == [True] * 4


def test_single_labels_are_one_hot_targets() -> None:
    draw = torch.Generator().manual_seed(0)
    labels, logits = torch.randint(4, (ROWS,), generator=draw), torch.randn(ROWS, 4, generator=draw)
    found = single_label_metrics(logits, labels)
    probabilities, targets = logits.softmax(1), one_hot(labels, 4)
    assert confidence_interval(mean_average_precision(probabilities, targets), range(ROWS)).value == pytest.approx(
        found.cmap
    )
    assert confidence_interval(accuracy(probabilities, targets), range(ROWS)).value == pytest.approx(found.accuracy)


def test_the_interval_of_a_share_is_that_of_the_normal_distribution() -> None:
    hits = torch.arange(400) % 4 == 0
    found = confidence_interval(ratio(hits, torch.ones(400)), range(400), Resampling(4000))
    deviation = (0.25 * 0.75 / 400) ** 0.5
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - 1.96 * deviation, abs=0.005)
    assert found.high == pytest.approx(0.25 + 1.96 * deviation, abs=0.005)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of a skewed score, for which plain quantiles of few draws would lie askew, too."""
    draw = torch.Generator().manual_seed(0)
    covered = 0
    for seed in range(300):
        chances = torch.rand(80, generator=draw) < 0.15
        found = confidence_interval(ratio(chances, torch.ones(80)), range(80), Resampling(400, 0.9, seed))
        covered += found.low <= 0.15 <= found.high
    assert covered / 300 == pytest.approx(0.9, abs=0.05)


def test_rare_classes_do_not_push_an_interval_beside_its_score() -> None:
    draw = torch.Generator().manual_seed(0)
    targets = torch.zeros(400, 20)
    targets[torch.arange(200), torch.arange(200) % 4] = 1  # four classes with many positives, sixteen with one
    targets[200 + torch.arange(16), 4 + torch.arange(16)] = 1
    logits = torch.randn(400, 20, generator=draw) + 2 * targets
    score = mean_average_precision(logits, targets)
    found = confidence_interval(score, range(400), Resampling(500))
    drawn = torch.cat([score(counts) for counts in resamples(range(400), Resampling(500, seed=0))])
    plain = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    assert abs(found.high + found.low - 2 * found.value) < abs(plain.sum() - 2 * found.value)


def test_a_score_that_is_not_defined_has_no_interval() -> None:
    found = confidence_interval(mean_auroc(torch.randn(9, 1), torch.ones(9, 1)), range(9))
    assert all(math.isnan(value) for value in found)


def test_rows_that_belong_together_count_as_one() -> None:
    hits = (torch.arange(400) // 10) % 4 == 0  # 40 recordings of ten clips that are right together or wrong together
    score = ratio(hits, torch.ones(400))
    alone = confidence_interval(score, range(400))
    together = confidence_interval(score, [f"recording {row // 10}" for row in range(400)])
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(10**0.5, rel=0.1)


def test_a_group_is_drawn_whole_and_as_many_groups_as_there_are() -> None:
    groups = ["a", "b", "b", None, "c", "c"]
    (counts,) = resamples(groups, Resampling(50, seed=0))
    assert torch.equal(counts[:, 1], counts[:, 2])
    assert torch.equal(counts[:, 4], counts[:, 5])
    assert (counts[:, [0, 1, 3, 4]].sum(1) == 4).all()


def test_chunks_of_draws_are_no_more_than_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    score = mean_average_precision(*drawn())
    whole = confidence_interval(score, range(ROWS), Resampling(100))
    monkeypatch.setattr("oscine.probe.metrics.bootstrap.AT_ONCE", 7 * ROWS)
    assert len(list(resamples(range(ROWS), Resampling(100, seed=0)))) == 15
    assert confidence_interval(score, range(ROWS), Resampling(100)) == pytest.approx(whole, rel=1e-14)


def test_the_seed_decides_the_draws() -> None:
    score = mean_average_precision(*drawn())
    one, same, other = (confidence_interval(score, range(ROWS), Resampling(seed=seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_a_score_does_not_differ_from_itself() -> None:
    score = mean_average_precision(*drawn())
    assert compare(score, score, range(ROWS)) == ((0, 0, 0), 0.5)


def test_a_clear_difference_is_clear_though_both_scores_are_unsure() -> None:
    hard = torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(2)) * 3  # what both find hard
    (logits, targets), (better, _) = drawn(seed=1), drawn(seed=1, signal=1.75)
    first, second = (mean_average_precision(scores + hard, targets) for scores in (better, logits))
    found = compare(first, second, range(ROWS))
    assert found.difference.low > 0
    assert found.ahead > 0.97
    assert confidence_interval(first, range(ROWS)).low < confidence_interval(second, range(ROWS)).high
    assert compare(second, first, range(ROWS)).difference.value == pytest.approx(-found.difference.value)


def test_folds_are_judged_one_by_one_and_their_mean_is_the_score() -> None:
    logits, targets = drawn()
    rows = [torch.arange(0, ROWS, 2), torch.arange(1, ROWS, 2)]
    score = over_parts([mean_average_precision(logits[own], targets[own]) for own in rows], rows)
    folds = [multi_label_metrics(logits[own], targets[own]).cmap for own in rows]
    assert confidence_interval(score, range(ROWS)).value == pytest.approx(sum(folds) / 2)


def test_one_group_has_no_interval() -> None:
    with pytest.raises(OscineError, match="all 60 rows are of one group; an interval needs at least two"):
        confidence_interval(mean_average_precision(*drawn()), ["ann"] * ROWS)


def test_a_score_beyond_all_of_its_draws_lies_in_its_interval() -> None:
    def score(counts: torch.Tensor) -> torch.Tensor:
        """The mean of rows; and more, the more of them are drawn twice, as a rare class's average precision."""
        return counts @ torch.linspace(0, 1, 50, dtype=torch.float64) / 50 + (counts > 1).double().mean(1)

    whole, low, high = confidence_interval(score, range(50))
    assert low < whole < high
    assert 0.1 < high - low < 0.4
    flipped = confidence_interval(lambda counts: 1 - score(counts), range(50))
    assert flipped == pytest.approx((1 - whole, 1 - high, 1 - low))


@pytest.mark.parametrize("level", [0.3, 0.95])
@pytest.mark.parametrize("rows", [4, 12, 60])
def test_an_interval_holds_its_value_and_leaves_not_what_a_score_can_be(rows: int, level: float) -> None:
    """Also of few rows, of rare classes, and of probes that are nearly always right or wrong."""
    draw = torch.Generator().manual_seed(rows)
    for trial in range(60):
        labels = torch.randint(12, (rows,), generator=draw)
        targets = one_hot(labels, 12)
        good, poor = (torch.randn(rows, 12, generator=draw) + signal * targets for signal in (trial % 6, -1))
        groups = [row % max(2, rows // 4) for row in range(rows)]
        for make in (accuracy, mean_average_precision):
            one, other = make(good, targets), make(poor, targets)
            value, low, high = confidence_interval(one, groups, Resampling(100, level, trial))
            assert 0 <= low <= value <= high <= 1
            value, low, high = compare(one, other, groups, Resampling(100, level, trial)).difference
            assert -1 <= low <= value <= high <= 1


def test_a_difference_beyond_all_draws_may_be_negative() -> None:
    def worse(counts: Tensor) -> Tensor:
        return (
            0.2 - 0.1 * counts @ torch.linspace(0, 1, 50, dtype=torch.float64) / 50 - (counts > 1).double().mean(1) / 5
        )

    found = compare(worse, lambda counts: torch.full((len(counts),), 0.9).double(), range(50)).difference
    assert -1 <= found.low < found.value < found.high < 0


@pytest.mark.parametrize("groups", [2, 3, 5, 12, 60])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_an_interval_leaves_0_out_just_where_the_share_above_it_is_beyond_the_level(groups: int, level: float) -> None:
    """Also of scores that are few fractions, of ties, and of draws that are all on one side."""
    draw, outside = torch.Generator().manual_seed(groups), 0
    for trial in range(80):
        labels = torch.randint(4, (ROWS,), generator=draw)
        targets = one_hot(labels, 4)
        signal = (trial % 8) / 8
        good, poor = (torch.randn(ROWS, 4, generator=draw) + more * targets for more in (1 + signal, 1.0))
        make = (accuracy, mean_average_precision)[trial % 2]
        of_row = [row % groups for row in range(ROWS)]
        for one, other in ((good, poor), (poor, good)):
            (_, low, high), ahead = compare(
                make(one, targets), make(other, targets), of_row, Resampling(100, level, trial)
            )
            if not math.isclose(abs(2 * ahead - 1), level):  # just at the end
                assert (low > 0) == (ahead > (1 + level) / 2)
                assert (high < 0) == (ahead < (1 - level) / 2)
            outside += low > 0 or high < 0
    assert 0 < outside < 160 or groups == 2


@pytest.mark.parametrize("groups", [3, 5, 9])
def test_few_groups_that_differ_have_an_interval_that_covers_the_truth_as_often_as_it_says(groups: int) -> None:
    """Of shares that scatter around 0.7, from group to group and within each; the bootstrap of three covers 75 %."""
    draw, covered = torch.Generator().manual_seed(groups), 0
    of_row = torch.arange(groups).repeat_interleave(15)
    for seed in range(200):
        chances = (0.7 + 0.15 * torch.randn(groups, generator=draw)).clamp(0, 1)[of_row]
        hits = torch.rand(len(of_row), generator=draw) < chances
        found = confidence_interval(ratio(hits, torch.ones(len(of_row))), of_row.tolist(), Resampling(50, seed=seed))
        covered += found.low <= 0.7 <= found.high
    assert 0.9 < covered / 200 <= 1


def test_the_interval_of_few_groups_is_that_of_their_means() -> None:
    means = torch.tensor([0.5, 0.6, 0.7, 0.8])
    hits = (torch.arange(1000) / 1000 < means[:, None]).flatten()
    value, low, high = confidence_interval(
        ratio(hits, torch.ones(4000)), torch.arange(4).repeat_interleave(1000).tolist()
    )
    assert value == pytest.approx(0.65)
    half = 3.182 * (means.var() / 4).sqrt().item()  # Student's, with 3 degrees of freedom
    assert (low, high) == (pytest.approx(0.65 - half, abs=1e-3), pytest.approx(0.65 + half, abs=1e-3))


def test_few_groups_that_agree_by_luck_are_no_surer_than_their_rows() -> None:
    hits = torch.arange(60) % 4 > 0
    value, low, high = confidence_interval(ratio(hits, torch.ones(60)), [row // 20 for row in range(60)])
    error = (0.75 * 0.25 / 60) ** 0.5
    assert value == 0.75
    assert high == pytest.approx(min(1.0, 0.75 + 4.303 * error), abs=0.03)
    assert low == pytest.approx(0.75 - 4.303 * error, abs=0.03)
