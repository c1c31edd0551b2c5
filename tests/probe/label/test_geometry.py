"""Distances are the same in blocks of any size; equal clips tie exactly; k-means takes a seed from its generator."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from oscine.probe.label import geometry
from oscine.probe.label.geometry import (
    cluster,
    distances_to,
    first_largest,
    largest,
    nearest_distances,
    nearest_to_centres,
    neighbour_distances,
    squared_distances,
    unit_rows,
)


@pytest.fixture(params=[1, 50, 2**22])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row at a time, a few, or all."""
    monkeypatch.setattr(geometry, "BLOCK", request.param)


def test_distances_are_those_written_out(block: None, generator: np.random.Generator) -> None:
    rows, others = generator.normal(size=(23, 5)), generator.normal(size=(9, 5))
    apart = ((rows[:, None] - others) ** 2).sum(2)
    np.testing.assert_allclose(squared_distances(rows, others), apart, rtol=0, atol=1e-12)
    np.testing.assert_allclose(distances_to(rows, others[2]), apart[:, 2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(nearest_distances(rows, others), apart.min(1), rtol=0, atol=1e-12)
    among = np.sort(((rows[:, None] - rows) ** 2).sum(2), axis=1)[:, 1:8]
    np.testing.assert_allclose(neighbour_distances(rows, 7), among, rtol=0, atol=1e-12)
    assert np.isinf(nearest_distances(rows, others[:0])).all()


def test_equal_rows_are_at_0_however_far_from_the_origin(block: None, generator: np.random.Generator) -> None:
    rows = 1e6 + generator.normal(size=(12, 4))
    rows[[5, 9]] = rows[2]
    assert distances_to(rows, rows[2])[[2, 5, 9]].tolist() == [0, 0, 0]
    assert nearest_distances(rows[[5, 9]], rows[[2]]).tolist() == [0, 0]
    assert neighbour_distances(rows[[2, 5, 9]], 2).tolist() == [[0, 0]] * 3


def test_the_lowest_of_equal_ones_is_first_even_where_rounding_tells_them_apart() -> None:
    third = 0.1 + 0.2
    assert third != 0.3
    assert first_largest(np.array([0.1, 0.3, third])) == 1
    assert first_largest(np.array([0.0, 1e-17, 2e-17]), scale=1.0) == 0
    assert first_largest(np.array([0.1, 0.3, 0.3001])) == 2
    assert first_largest(np.array([-np.inf, -3.0, np.inf, np.inf])) == 2
    assert largest(np.array([1.0, 3, 1, 3, 2]), 4).tolist() == [1, 3, 4, 0]


def test_rows_of_zeros_stay_and_others_have_length_1() -> None:
    assert unit_rows(np.array([[3.0, 4], [0, 0]])).tolist() == [[0.6, 0.8], [0, 0]]


@pytest.mark.parametrize("clusters", [4, 60])
def test_clusters_are_the_same_for_the_same_seed_and_equal_rows_leave_some_empty(clusters: int) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    found = [cluster(rows, clusters, np.random.default_rng(seed))[0].tolist() for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers, centres = cluster(rows[:3].repeat(30, axis=0), clusters, np.random.default_rng(0))
    assert len(np.unique(numbers)) <= 3 < len(centres)


def test_near_to_each_centre_is_one_row() -> None:
    rows = np.array([[0.0], [1], [2], [50], [52], [100], [100]])
    assert sorted(nearest_to_centres(rows, 3, np.random.default_rng(0))) == [1, 3, 5]
