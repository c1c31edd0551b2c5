"""Choose clips that represent the unlabelled ones best: MaxHerding, UHerding (Bae et al. 2024/25), by their definition.

Rows have length 1; a clip i covers a clip j by the kernel k_ij = exp(-gamma |phi_i - phi_j|^2).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, softmax

from oscine.probe.label.geometry import blocks, first_largest, nearest_distances, squared_distances, unit_rows
from oscine.probe.label.state import State
from oscine.probe.label.strategies.random import fill_up
from oscine.probe.label.strategies.uncertainty import margins_of
from oscine.probe.label.temperature import fitted_temperature

MOST = 5000  # clips whose kernel is in memory at once: 200 MB
SAME = 1e-12  # squared distance of rows of length 1: nearer ones are the same row, rounded to float32


def maxherding(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose the clips that cover all candidates best."""
    fewer = _draw(state, generator)
    chosen = herd(*_rows(fewer), min(k, MOST), weights=np.ones(len(fewer.candidates)))
    return fill_up(state, k, generator, chosen=fewer.candidates[chosen])


def uherding(
    state: State, k: int, generator: np.random.Generator, *, temperature: float | np.ndarray | None = 1.0
) -> np.ndarray:
    """Choose the clips that best cover those with little margin.

    temperature: what the probe's logits are divided by, with several labels also [classes]; None fits it to a fifth of the
    labels
    """
    if temperature is None:
        temperature = fitted_temperature(state, generator)
    fewer = _draw(state, generator)
    candidates, labelled = _rows(fewer)
    p = tempered(fewer.of_candidates("probabilities"), temperature, several=state.several)
    weights, gamma = margins_of(p, fewer), 1 / least_distance(labelled) ** 2
    chosen = herd(candidates, labelled, min(k, MOST), weights=weights, gamma=gamma)
    return fill_up(state, k, generator, chosen=fewer.candidates[chosen])


def herd(
    candidates: np.ndarray, labelled: np.ndarray, k: int, *, weights: np.ndarray, gamma: float = 1.0
) -> np.ndarray:
    """Return k candidates, by number, each adding most when taken.

    candidates, labelled: rows of length 1; weights [candidates]: how much covering each of them is worth.
    """
    kernel = kernel_of(candidates, gamma)
    covered = np.exp(-gamma * nearest_distances(candidates, labelled))  # 0 where nothing is labelled
    gains = first_gains(kernel, covered, weights)
    scale, taken, chosen = gains.max(), np.zeros(len(gains), dtype=bool), []
    for _ in range(k):
        chosen.append(first_largest(np.where(taken, -np.inf, gains), scale))
        taken[chosen[-1]] = True
        better = np.maximum(covered, kernel[chosen[-1]])
        gains -= _lost(kernel, covered, better, weights=weights)
        covered = better
    return np.array(chosen)


def kernel_of(rows: np.ndarray, gamma: float) -> np.ndarray:  # [rows, rows]
    """Compute how much every row covers every other."""
    kernel = np.empty((len(rows), len(rows)))
    for part in blocks(len(rows), len(rows)):
        np.exp(-gamma * squared_distances(rows[part], rows), out=kernel[part])
    return kernel


def first_gains(kernel: np.ndarray, covered: np.ndarray, weights: np.ndarray) -> np.ndarray:  # [candidates]
    """Average weights_j max(k_ij - covered_j, 0) over clips j, for every i."""
    gains = np.empty(len(kernel))
    for part in blocks(len(kernel), len(kernel)):
        gains[part] = np.maximum(kernel[part] - covered, 0) @ weights / len(kernel)
    return gains


def least_distance(rows: np.ndarray) -> float:
    """Return the smallest distance of two different rows of length 1.

    It is 1 where all are the same, or none is there.
    """
    least = np.inf
    for part in blocks(len(rows), len(rows)):
        squares = squared_distances(rows[part], rows)
        least = min(least, squares[squares > SAME].min(initial=np.inf))
    return float(np.sqrt(least)) if np.isfinite(least) else 1.0


def tempered(p: np.ndarray, temperature: float | np.ndarray, *, several: bool) -> np.ndarray:
    """Divide the logits of probabilities [clips, classes] by a temperature."""
    if np.all(temperature == 1):
        return p
    with np.errstate(divide="ignore"):  # of a probability of 0
        return expit(logit(p) / temperature) if several else softmax(np.log(p) / temperature, axis=1)


def _draw(state: State, generator: np.random.Generator) -> State:
    """Draw MOST candidates where there are more."""
    if len(state.candidates) <= MOST:
        return state
    return state.among(generator.choice(state.candidates, MOST, replace=False))


def _rows(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of candidates and of labelled clips with rows of length 1."""
    return unit_rows(state.of_candidates("features")), unit_rows(state.features[state.labelled])


def _lost(kernel: np.ndarray, covered: np.ndarray, better: np.ndarray, *, weights: np.ndarray) -> np.ndarray:
    """Compute what every clip can no longer add: [candidates].

    Only what is covered better now than before counts.
    """
    lost, changed = np.zeros(len(kernel)), np.flatnonzero(better > covered)
    for part in blocks(len(changed), len(kernel)):
        at = changed[part]
        before = covered[at, None]
        lost += weights[at] @ (np.clip(kernel[at], before, better[at, None]) - before)
    return lost / len(kernel)
