"""Choose unlike clips whose predicted class changes when features are dropped: DropQuery (Gupte et al. 2024)."""

from __future__ import annotations

import numpy as np

from oscine.probe.label.geometry import nearest_to_centres, unit_rows
from oscine.probe.label.state import State
from oscine.probe.label.strategies.random import fill_up

DROPOUTS, RATE = 3, 0.75
ENOUGH = 25  # candidates a clip that is to be chosen


def dropquery(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose unlike clips that most dropouts change; fill up at random."""
    rows, weight, bias = state.of_candidates("features"), state.need("weight"), state.need("bias")
    counts = np.zeros(len(rows), dtype=np.int64)
    for _ in range(DROPOUTS):
        keep = generator.random(rows.shape) >= RATE
        counts += changes(rows, rows * keep / (1 - RATE), weight=weight, bias=bias, several=state.several)
    return unlike(state, k, generator, among=changed_often(counts, k))


def changes(
    rows: np.ndarray, others: np.ndarray, *, weight: np.ndarray, bias: np.ndarray, several: bool
) -> np.ndarray:  # [rows]
    """Tell whether the last map predicts otherwise for others: [rows, dim] both."""
    return differ(rows @ weight.T + bias, others @ weight.T + bias, several=several)


def differ(logits: np.ndarray, others: np.ndarray, *, several: bool) -> np.ndarray:  # [rows]
    """Tell whether predictions differ.

    One label: the likeliest class; several: any class that is present in one alone.
    """
    if several:
        return ((logits > 0) != (others > 0)).any(1)
    return logits.argmax(1) != others.argmax(1)


def changed_often(counts: np.ndarray, k: int) -> np.ndarray:
    """Return the rows with more changes than half the dropouts.

    Where they are too few, with fewer changes, but at least one.
    """
    least = DROPOUTS // 2
    while least and (counts > least).sum() < ENOUGH * k:
        least -= 1
    return np.flatnonzero(counts > least)


def unlike(state: State, k: int, generator: np.random.Generator, *, among: np.ndarray) -> np.ndarray:
    """Choose k clips near centres of k clusters, others at random.

    among: the candidates to cluster, with rows of length 1, as numbers in state.candidates
    """
    rows = unit_rows(state.features[state.candidates[among]])
    chosen = among[nearest_to_centres(rows, k, generator)] if len(among) else among
    return fill_up(state, k, generator, chosen=state.candidates[chosen])
