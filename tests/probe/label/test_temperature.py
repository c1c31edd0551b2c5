"""A temperature is fitted to labels that the probe has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.probe.label import State, choose
from oscine.probe.label.temperature import GRID, calibration_error, fitted_temperature


def state_of(labels: np.ndarray, features: np.ndarray, *, several: bool = False) -> State:
    """Labels of the first clips; as many others are candidates."""
    count, classes = len(labels), labels.shape[1] if several else 3
    p = np.full((2 * count, classes), 1 / classes)
    everything = np.concatenate([features, features])
    return State(everything, p, np.arange(count), labels, np.arange(count, 2 * count), several=several)


def test_the_error_is_that_of_bins_written_out():
    rng = np.random.default_rng(0)
    confidence, right = np.append(rng.uniform(size=200), [0, 1]), rng.uniform(size=202) < 0.5
    expected = 0.0
    for bin_ in range(15):
        inside = (confidence >= bin_ / 15) & ((confidence < (bin_ + 1) / 15) | (bin_ == 14))
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_a_probe_that_is_too_sure_is_flattened_and_one_that_is_too_timid_sharpened():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=400)
    noise = rng.normal(size=(400, 60))
    overfitted = state_of(truth, 30 * noise)  # features tell nothing, and the regression learns them by heart
    assert fitted_temperature(overfitted, np.random.default_rng(1)) > 4
    telling = state_of(truth, 0.2 * np.eye(3)[truth])  # they tell all, and are too short for it
    assert fitted_temperature(telling, np.random.default_rng(1)) < 0.5


def test_with_several_labels_each_class_has_its_own():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 40))
    labels = np.stack([rng.integers(2, size=300), features[:, 0] > 0, np.zeros(300)], 1).astype(float)
    labels[::7, 1] = np.nan
    found = fitted_temperature(state_of(labels, 10 * features, several=True), np.random.default_rng(0))
    assert isinstance(found, np.ndarray)
    assert found[0] > 3 * found[1]
    assert found[2] == 1  # it never occurs
    assert {*found[:2]} <= {*GRID}


def test_where_nothing_can_be_fitted_it_is_1():
    features = np.random.default_rng(0).normal(size=(9, 2))
    assert fitted_temperature(state_of(np.arange(9) % 3, features), np.random.default_rng(0)) == 1
    same = state_of(np.ones(20, dtype=int), np.ones((20, 2)))
    assert fitted_temperature(same, np.random.default_rng(0)) == 1
    few = state_of(np.ones((9, 2)), features, several=True)
    assert fitted_temperature(few, np.random.default_rng(0)).tolist() == [1, 1]


@pytest.mark.parametrize("several", [False, True])
def test_uherding_takes_what_is_fitted(several):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5))
    labels = rng.integers(2, size=(60, 3)) if several else rng.integers(3, size=60)
    state = state_of(labels, features, several=several)
    fitted = fitted_temperature(state, np.random.default_rng(2))
    chosen = choose("uherding", state, 5, np.random.default_rng(2), temperature=None)
    assert chosen.tolist() == choose("uherding", state, 5, np.random.default_rng(2), temperature=fitted).tolist()
