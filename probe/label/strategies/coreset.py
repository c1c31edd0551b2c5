"""Choose clips so that none is far from a labelled one: CoreSet (Sener & Savarese 2018), k-centre greedy."""

from __future__ import annotations

import numpy as np

from oscine.probe.label.geometry import distances_to, first_largest, nearest_distances, unit_rows
from oscine.probe.label.state import State


def coreset(state: State, k: int, generator: np.random.Generator, *, unit: bool = False) -> np.ndarray:
    """Choose k times the clip farthest from labelled and chosen ones.

    Where there are none, the clip nearest to the mean is first.
    unit: of rows of length 1. With rows as they are a silent clip is short and a full one long.
    """
    features = unit_rows(state.features) if unit else state.features
    rows = features[state.candidates]
    return state.candidates[farthest_first(rows, nearest_distances(rows, features[state.labelled]), k)]


def farthest_first(rows: np.ndarray, squares: np.ndarray, k: int) -> np.ndarray:
    """Return k numbers of rows, each the farthest when it was taken.

    squares: each row's squared distance to the nearest that is there already [rows]; infinite where nothing is.
    """
    taken, chosen = np.zeros(len(rows), dtype=bool), []
    for _ in range(k):
        scores = squares if np.isfinite(squares[0]) else -distances_to(rows, rows.mean(0))
        chosen.append(first_largest(np.where(taken, -np.inf, scores)))
        taken[chosen[-1]] = True
        squares = np.minimum(squares, distances_to(rows, rows[chosen[-1]]))
    return np.array(chosen)
