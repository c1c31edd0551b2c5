"""Choose the most typical clips of clusters in which nothing is labelled yet: TypiClust (Hacohen et al. 2022)."""

from __future__ import annotations

import numpy as np

from oscine.probe.label.geometry import cluster, first_largest, neighbour_distances
from oscine.probe.label.state import State

MOST_CLUSTERS = 500
SMALL = 5  # clips; clusters of no more are taken last
NEIGHBOURS = 20


def typiclust(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose the most typical clip of each cluster.

    Clusters with fewest labelled clips come first, then the largest.
    """
    clips = np.concatenate([state.labelled, state.candidates])
    rows, labelled = state.features[clips], len(state.labelled)
    numbers, _ = cluster(rows, min(labelled + k, MOST_CLUSTERS), generator)
    return clips[most_typical(rows, numbers, k, labelled=labelled)]


def most_typical(rows: np.ndarray, clusters: np.ndarray, k: int, *, labelled: int) -> np.ndarray:
    """Take the most typical row left in each cluster, k in all.

    Clusters take turns, in an order that is settled before any row is taken.
    rows: [rows, dim], of which the first are labelled; clusters: [rows]
    """
    left = {
        number: np.flatnonzero(clusters[labelled:] == number) + labelled for number in np.unique(clusters[labelled:])
    }
    sizes = {number: (clusters == number).sum() for number in left}
    known = {number: (clusters[:labelled] == number).sum() for number in left}
    order = sorted(left, key=lambda number: (sizes[number] <= SMALL, known[number], -sizes[number], number))
    chosen: list[int] = []
    while len(chosen) < k:
        large = [number for number in order if sizes[number] > SMALL and len(left[number])]
        for number in (large or [number for number in order if len(left[number])])[: k - len(chosen)]:
            own = left[number]
            chosen.append(own[first_largest(typicality(rows[own]))])
            left[number] = own[own != chosen[-1]]
    return np.array(chosen)


def typicality(rows: np.ndarray) -> np.ndarray:  # [rows]
    """Invert each row's mean squared distance to its nearest rows; infinite alone."""
    if len(rows) == 1:
        return np.array([np.inf])
    return 1 / (neighbour_distances(rows, min(NEIGHBOURS, max(1, len(rows) // 2))).mean(1) + 1e-5)
