"""Choose clips that are unsure and far from labelled ones: half CoreSet, half entropy; ADU with marginal relevance."""

from __future__ import annotations

import numpy as np

from oscine.probe.label.geometry import first_largest, nearest_distances, unit_rows
from oscine.probe.label.state import State
from oscine.probe.label.strategies.coreset import coreset
from oscine.probe.label.strategies.uncertainty import binary_entropy, entropy

SURE = 0.05  # mean binary entropy of the candidates below which ADU begins to weigh entropy


def half_coreset_half_entropy(
    state: State, k: int, generator: np.random.Generator, *, unit: bool = False, balance: bool = False
) -> np.ndarray:
    """Choose half of the clips by CoreSet, then half by entropy.

    An odd one is CoreSet's.
    unit: of CoreSet, rows of length 1. balance: of entropy with several labels, classes with few positives weigh more.
    """
    far = coreset(state, k - k // 2, generator, unit=unit)
    left = state.among(np.setdiff1d(state.candidates, far))
    return np.concatenate([far, entropy(left, k // 2, generator, balance=balance)])


def adu_mmr(
    state: State, k: int, generator: np.random.Generator, *, share: float | None = None, redundancy: float = 0.3
) -> np.ndarray:
    """Choose after ADU with maximal marginal relevance.

    As far as it is published, BioDCASE 2026's first of 14.
    share: of entropy in a clip's score, the rest being its distance from labelled clips; None lets it rise to 1/2 as the
    probe becomes sure, which is ours.
    redundancy: weight of the cosine with the most similar chosen clip, against the score's
    """
    scores, rows = adu_scores(state, share), unit_rows(state.of_candidates("features"))
    taken, alike = np.zeros(len(rows), dtype=bool), np.full(len(rows), -np.inf)
    chosen: list[int] = []
    for _ in range(k):
        values = (1 - redundancy) * scores - redundancy * (alike if chosen else 0)
        chosen.append(first_largest(np.where(taken, -np.inf, values), 1))
        taken[chosen[-1]] = True
        alike = np.maximum(alike, rows @ rows[chosen[-1]])
    return state.candidates[chosen]


def adu_scores(state: State, share: float | None = None) -> np.ndarray:  # [candidates]
    """Mix entropy and distance to labelled clips, both scaled.

    Each goes from 0 to 1; distances are squared.
    """
    entropies = binary_entropy(state.of_candidates("probabilities"))
    if share is None:
        share = min(0.5, max(0.0, 1 - entropies.mean() / SURE))
    far = nearest_distances(state.of_candidates("features"), state.features[state.labelled])
    return share * _scaled(entropies.sum(1)) + (1 - share) * _scaled(far)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Move values to 0 to 1; where all are equal, to 0."""
    span = np.ptp(values)
    return (values - values.min()) / span if span else np.zeros(len(values))
