"""Herding follows its definition, not the transposed form of a toolbox."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.probe.label import State, choose
from oscine.probe.label.geometry import nearest_distances, unit_rows
from oscine.probe.label.strategies import herding
from oscine.probe.label.strategies.herding import first_gains, kernel_of, least_distance, tempered
from oscine.probe.label.strategies.uncertainty import margins

EXACT = {"rtol": 0, "atol": 1e-9}


def unit(state: State) -> tuple[np.ndarray, np.ndarray]:
    rows = unit_rows(state.features)
    return rows[state.candidates], rows[state.labelled]


@pytest.mark.parametrize("name", ["maxherding", "uherding"])
def test_picks_are_those_of_the_definition(name, query, one_label, generator):
    chosen = choose(name, one_label, 6, generator).tolist()
    assert chosen == query[f"{name}.picks"].tolist()
    assert chosen != query[f"{name}_toolbox.picks"].tolist()


def test_first_gains_and_the_radius_are_those_of_the_reference(query, one_label):
    candidates, labelled = unit(one_label)
    assert least_distance(labelled) == pytest.approx(query["uherding.dmin"].item(), abs=1e-9)
    squares = nearest_distances(candidates, labelled)
    for name, gamma, weights in (
        ("maxherding", 1.0, np.ones(48)),
        ("uherding", 1 / query["uherding.dmin"].item() ** 2, margins(one_label)),
    ):
        found = first_gains(kernel_of(candidates, gamma), np.exp(-gamma * squares), weights)
        np.testing.assert_allclose(found, query[f"{name}.first_gains"], **EXACT)


@pytest.mark.parametrize("name", ["maxherding", "uherding"])
def test_every_pick_is_the_best_of_the_objective_written_out(name, several_labels, generator):
    """Against sums over all pairs that are computed anew for each pick."""
    candidates, labelled = unit(several_labels)
    weights = margins(several_labels) if name == "uherding" else np.ones(len(candidates))
    apart = np.linalg.norm(labelled[:, None] - labelled, axis=2)
    gamma = 1 / apart[apart > 0].min() ** 2 if name == "uherding" else 1.0
    kernel = np.exp(-gamma * ((candidates[:, None] - candidates) ** 2).sum(2))
    covered = np.exp(-gamma * ((candidates[:, None] - labelled) ** 2).sum(2)).max(1)
    for pick in choose(name, several_labels, 12, generator):
        place = np.searchsorted(several_labels.candidates, pick)
        gains = [(weights * np.maximum(row - covered, 0)).mean() for row in kernel]
        assert gains[place] == pytest.approx(max(gains), rel=1e-9)
        covered = np.maximum(covered, kernel[place])


def test_copies_are_no_distance():
    rows = unit_rows(np.array([[1.0, 2.0], [3.0, 6.0], [1.0, 2.1], [0.1, 0.2]], dtype=np.float32).astype(float))
    assert least_distance(rows) == pytest.approx(np.linalg.norm(rows[0] - rows[2]))
    assert least_distance(rows[[0, 1]]) == 1
    assert least_distance(rows[:0]) == 1


def test_of_more_clips_than_a_kernel_holds_some_are_drawn(monkeypatch):
    monkeypatch.setattr(herding, "MOST", 20)
    state = State(np.random.default_rng(0).normal(size=(60, 2)), None, [], [], range(60))
    first, again, other = (choose("maxherding", state, 3, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other
    drawn = np.sort(np.random.default_rng(1).choice(60, 20, replace=False))
    assert first == choose("maxherding", state.among(drawn), 3, np.random.default_rng(0)).tolist()
    assert sorted(choose("maxherding", state, 50, np.random.default_rng(1))[:20]) == drawn.tolist()
    assert len({*choose("maxherding", state, 50, np.random.default_rng(1))}) == 50


def test_a_temperature_divides_the_logits():
    logits = np.random.default_rng(0).normal(size=(6, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    half = np.exp(logits / 2) / np.exp(logits / 2).sum(1, keepdims=True)
    np.testing.assert_allclose(tempered(p, 2.0, several=False), half, **EXACT)
    apart = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(
        tempered(1 / (1 + np.exp(-logits)), apart, several=True), 1 / (1 + np.exp(-logits / apart)), **EXACT
    )
    sure = tempered(np.array([[1.0, 0.0]]), 3.0, several=False)
    assert sure.tolist() == [[1, 0]]
