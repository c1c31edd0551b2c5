"""Fit the temperature of a probe's probabilities on labels that it has not seen."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from oscine.probe.label.state import State

GRID = np.logspace(-1, 1, 49)  # of temperatures, from those that sharpen to those that flatten
BINS = 15
LEAST = 10  # labels; of fewer a fifth says nothing


def fitted_temperature(state: State, generator: np.random.Generator) -> float | np.ndarray:
    """Return the temperature of least calibration error on held-back labels.

    A logistic regression on the state's features is fitted to four fifths of the labels and judged on the others. With
    several labels there is one temperature a class. It is 1 below ten labels, and where the four fifths are of one class.
    """
    order = generator.permutation(len(state.labelled))
    held, others = order[: len(order) // 5], order[len(order) // 5 :]
    if len(order) < LEAST:
        return np.ones(state.labels.shape[1]) if state.several else 1.0
    rows = state.features[state.labelled]
    if not state.several:
        return _temperature(rows, state.labels, held=held, others=others)
    of_classes = []
    for labels in state.labels.T:
        known = np.isin(labels, (0, 1))  # not NaN, nor what annotators disagree about
        of_classes.append(_temperature(rows, labels, held=held[known[held]], others=others[known[others]]))
    return np.array(of_classes)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Average confidence's distance from accuracy over bins, weighted by rows."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(abs(np.bincount(bins, confidence - right)).sum() / len(confidence))


def _temperature(rows: np.ndarray, labels: np.ndarray, *, held: np.ndarray, others: np.ndarray) -> float:
    """Fit one temperature to the labels [rows] of the rows that are held back."""
    if len(np.unique(labels[others])) < 2 or not len(held):
        return 1.0
    probe = LogisticRegression(max_iter=1000).fit(rows[others], labels[others])
    logits = np.atleast_2d(probe.decision_function(rows[held]).T).T
    right = probe.predict(rows[held]) == labels[held]
    errors = []
    for temperature in GRID:
        p = expit(abs(logits) / temperature) if logits.shape[1] == 1 else softmax(logits / temperature, axis=1)
        errors.append(calibration_error(p.max(1), right))
    return float(min(zip(errors, abs(np.log(GRID)), GRID))[2])  # of equal ones the nearest to 1
