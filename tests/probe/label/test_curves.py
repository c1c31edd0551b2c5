"""Areas, wins, paired differences and labels to reach, as the golden curves have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from oscine.models.errors import OscineError
from oscine.probe.label.curves import (
    area,
    area_by_cycle,
    label_ratio,
    labels_to_reach,
    paired_difference,
    rank_correlation,
    win_matrix,
)

GOLDEN = load_file(Path(__file__).resolve().parents[2] / "golden" / "label_curves.safetensors")
CURVES, LABELS = GOLDEN["curves"], GOLDEN["labels"]  # [strategies, seeds, points], [points]
EXACT = {"rtol": 0, "atol": 1e-9}


def test_areas_are_by_labels_or_by_cycle():
    np.testing.assert_allclose(area(LABELS, CURVES), GOLDEN["area.by_labels"], **EXACT)
    np.testing.assert_allclose(area_by_cycle(CURVES), GOLDEN["area.by_cycle.exact"], **EXACT)
    np.testing.assert_allclose(np.round(area_by_cycle(CURVES), 4), GOLDEN["area.by_cycle"], **EXACT)


def test_labels_may_differ_from_run_to_run():
    every = np.broadcast_to(LABELS, CURVES.shape)
    np.testing.assert_allclose(area(every, CURVES), GOLDEN["area.by_labels"], **EXACT)


def test_a_batch_without_labels_adds_no_area():
    """An initial set that had to grow buys its first batch ahead."""
    assert area([20, 20, 30], [0.2, 0.2, 0.4]) == pytest.approx(0.3)
    assert area([20, 20], [0.2, 0.5]) == 0.5


def test_a_tie_is_half_a_win():
    wins = win_matrix(CURVES)
    np.testing.assert_allclose(wins.shares, GOLDEN["wins"], **EXACT)
    np.testing.assert_allclose(wins.ties, GOLDEN["ties"], **EXACT)
    np.testing.assert_allclose(wins.shares + wins.shares.T, 1, **EXACT)


def test_published_wins_lose_ties_and_divide_by_one_point_more():
    wins, points = win_matrix(CURVES), len(LABELS) - 1
    published = (wins.shares - wins.ties / 2) * points / (points + 1)
    np.testing.assert_allclose(published, GOLDEN["wins.published"], **EXACT)


def test_a_point_is_no_curve():
    with pytest.raises(OscineError, match=r"curves of shape \(2, 3, 1\), expected"):
        win_matrix(np.zeros((2, 3, 1)))


def test_differences_are_paired():
    areas = area(LABELS, CURVES)
    found = paired_difference(areas[3], areas[0])
    np.testing.assert_allclose(areas[3] - areas[0], GOLDEN["difference.per_seed"], **EXACT)
    np.testing.assert_allclose([found.low, found.high], GOLDEN["difference.t_interval_95"], **EXACT)
    np.testing.assert_allclose(found.p, GOLDEN["difference.sign_flip_p"], **EXACT)
    assert found.runs == 5


def test_many_runs_draw_patterns_of_signs_always_the_same():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.2, 1, 40), rng.normal(0, 1, 40)
    found = paired_difference(ours, theirs)
    assert found == paired_difference(ours, theirs)
    mirrored = paired_difference(theirs, ours)
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx((-found.mean, -found.high, -found.low))
    assert 0 < found.p < 1


def test_runs_without_spread_have_an_interval_of_no_width():
    assert paired_difference([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])[:4] == (0.0, 0.0, 0.0, 1.0)
    assert paired_difference([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])[:4] == (0.5, 0.5, 0.5, 0.25)


def test_one_run_has_no_interval():
    found = paired_difference([0.7], [0.5])
    assert found.mean == pytest.approx(0.2)
    assert np.isnan([found.low, found.high, found.p]).all()


def test_labels_to_reach_are_those_of_the_first_point_above():
    np.testing.assert_allclose(labels_to_reach(LABELS, CURVES, 0.7), GOLDEN["labels_to_reach"], **EXACT)
    assert labels_to_reach([10, 20], [0.1, 0.2], 0.3) == np.inf
    np.testing.assert_array_equal(labels_to_reach([10, 20], [[0.1, 0.2], [0.1, 0.2]], [0.1, 0.2]), [10, 20])


def test_a_ratio_of_labels_is_of_medians_that_reach():
    assert label_ratio([40, 60, np.inf], [120, 120, np.inf]) == 0.5
    assert np.isnan(label_ratio([40, 60, 60], [np.inf, np.inf, 120]))
    assert np.isnan(label_ratio([np.inf, np.inf, 60], [60, 60, 120]))


def test_a_rank_correlation_needs_three_encoders_that_differ():
    assert rank_correlation([0.1, 0.2, 0.9], [1, 2, 3]) == pytest.approx(1)
    assert rank_correlation([0.1, 0.2, 0.9], [3, 2, 1]) == pytest.approx(-1)
    assert np.isnan(rank_correlation([0.1, 0.2], [1, 2]))
    assert np.isnan(rank_correlation([0.1, 0.2, 0.3], [1, 1, 1]))
