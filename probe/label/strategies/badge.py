"""Choose clips whose gradients are large and unlike: BADGE (Ash et al. 2020), without building a gradient.

The gradient of the loss in the probe's last map, at the label that the probe would give, is g = a (x) phi with a = that
label less p. By inner products, |g - g'|^2 = |a|^2 |phi|^2 + |a'|^2 |phi'|^2 - 2 (a.a') (phi.phi').
"""

from __future__ import annotations

import numpy as np

from oscine.probe.label.geometry import EQUAL, first_largest
from oscine.probe.label.state import State


def badge(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose by k-means++ on the gradients, the largest first."""
    errors, rows = (
        errors_at_own_labels(state.of_candidates("probabilities"), state.several),
        state.of_candidates("features"),
    )
    norms = squared_norms(errors, rows)
    nothing = EQUAL * norms.max()  # what rounding leaves between equal gradients
    chosen = [first_largest(norms)]
    squares = gradient_distances(errors, rows, chosen[0])
    while len(chosen) < k:
        squares[(squares <= nothing)] = 0
        squares[chosen] = 0
        chosen.append(_draw(squares, chosen, generator))
        squares = np.minimum(squares, gradient_distances(errors, rows, chosen[-1]))
    return state.candidates[chosen]


def errors_at_own_labels(p: np.ndarray, several: bool) -> np.ndarray:  # [candidates, classes]
    """Subtract probabilities from the label that they would give.

    That is the likeliest class, or with several labels those of 1/2 and more.
    """
    return (p >= 1 / 2 if several else np.arange(p.shape[1]) == p.argmax(1)[:, None]) - p


def squared_norms(errors: np.ndarray, rows: np.ndarray) -> np.ndarray:  # [candidates]
    """Compute the squared length of every gradient."""
    return (errors**2).sum(1) * (rows**2).sum(1)


def gradient_distances(errors: np.ndarray, rows: np.ndarray, one: int) -> np.ndarray:  # [candidates]
    """Compute the squared distances of all gradients to one."""
    norms = squared_norms(errors, rows)
    return np.maximum(norms + norms[one] - 2 * (errors @ errors[one]) * (rows @ rows[one]), 0)


def _draw(squares: np.ndarray, chosen: list[int], generator: np.random.Generator) -> int:
    """Draw a row by its squared distance, by one uniform number.

    Where all distances are 0, any row that is left.
    """
    uniform = generator.random()
    if squares.any():
        shares = np.cumsum(squares)
        return int(np.searchsorted(shares / shares[-1], uniform, side="right"))
    left = np.setdiff1d(np.arange(len(squares)), chosen)
    return int(left[int(uniform * len(left))])
