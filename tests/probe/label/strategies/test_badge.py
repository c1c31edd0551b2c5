"""BADGE draws what the reference draws, and never builds a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oscine.probe.label import State, choose
from oscine.probe.label.strategies.badge import errors_at_own_labels, gradient_distances, squared_norms

EXACT = {"rtol": 0, "atol": 1e-9}


class Given:
    """Stands for a generator whose numbers are known."""

    def __init__(self, uniforms: np.ndarray) -> None:
        self.left = uniforms.tolist()

    def random(self) -> float:
        return self.left.pop(0)


@pytest.mark.parametrize("kind", ["one_label", "several_labels"])
def test_picks_are_those_of_the_reference_for_the_same_numbers(kind, query, multilabel, request):
    state, golden = request.getfixturevalue(kind), query if kind == "one_label" else multilabel
    draws: Any = Given(golden["badge.uniforms"])
    assert choose("badge", state, 6, draws).tolist() == golden["badge.picks"].tolist()
    assert not draws.left


@pytest.mark.parametrize("kind", ["one_label", "several_labels"])
def test_distances_are_those_of_gradients_written_out(kind, query, multilabel, request):
    state, golden = request.getfixturevalue(kind), query if kind == "one_label" else multilabel
    rows = state.of_candidates("features")
    errors = errors_at_own_labels(state.of_candidates("probabilities"), state.several)
    first = int(np.searchsorted(state.candidates, golden["badge.picks"][0]))
    np.testing.assert_allclose(squared_norms(errors, rows), golden["badge.squared_norms"], **EXACT)
    to_first = gradient_distances(errors, rows, first)
    np.testing.assert_allclose(to_first, golden["badge.squared_distances_to_first"], **EXACT)
    gradients = (errors[:, :, None] * rows[:, None]).reshape(len(rows), -1)
    np.testing.assert_allclose(to_first, ((gradients - gradients[first]) ** 2).sum(1), **EXACT)


def test_it_draws_as_numpys_choice_does(one_label):
    """One uniform number a pick; the first index whose cumulated share exceeds it."""
    chosen = choose("badge", one_label, 2, np.random.default_rng(5))
    errors = errors_at_own_labels(one_label.of_candidates("probabilities"), False)
    squares = gradient_distances(
        errors, one_label.of_candidates("features"), int(np.searchsorted(one_label.candidates, chosen[0]))
    )
    squares[np.searchsorted(one_label.candidates, chosen[0])] = 0
    drawn = np.random.default_rng(5).choice(one_label.candidates, p=squares / squares.sum())
    assert chosen[1] == drawn


def test_where_only_copies_are_left_each_is_drawn_once():
    features = np.random.default_rng(0).normal(size=(3, 5)).repeat(10, axis=0)
    p = np.array([[0.6, 0.3, 0.1]]).repeat(30, axis=0)
    state = State(features, p, [0], [0], range(1, 30))
    for seed in range(5):
        chosen = choose("badge", state, 29, np.random.default_rng(seed))
        assert sorted(chosen) == list(range(1, 30))
        assert {clip // 10 for clip in chosen[:3]} == {0, 1, 2}  # one of each before any copy


def test_a_probe_that_is_sure_of_all_is_no_error():
    state = State(np.ones((9, 2)), np.eye(3)[[0, 1, 2] * 3], [0], [0], range(1, 9))
    assert sorted(choose("badge", state, 8, np.random.default_rng(0))) == list(range(1, 9))
