"""Choose clips whose balls cover most clips that none covers yet: ProbCover (Yehuda et al. 2022).

Rows have length 1. A clip covers what is nearer than a radius, itself too. Edges are counted block by block and never kept:
a clip that becomes covered is taken off the counts of all that reach it, once.
"""

from __future__ import annotations

import numpy as np

from oscine.models.errors import Misuse
from oscine.probe.label.geometry import EQUAL, blocks, cluster, nearest_distances, squared_distances, unit_rows
from oscine.probe.label.state import State
from oscine.probe.label.strategies.coreset import farthest_first

PURE = 0.95  # share of balls that shall hold clips of one class only
WIDEST = 4.0  # the squared distance of opposite rows


def probcover(
    state: State, k: int, generator: np.random.Generator, *, radius: float | None = None, classes: int | None = None
) -> np.ndarray:
    """Choose in turn the clip that covers most uncovered candidates.

    Where all are covered CoreSet goes on.
    radius: of a ball; None takes the largest at which 95 % of balls hold one class only, clusters standing for classes
    classes: how many clusters, if not the state's classes
    """
    rows = unit_rows(state.features)
    if radius is None:
        if not (clusters := classes or state.classes):
            raise Misuse("probcover chooses its radius by how many classes there are; give classes=, or radius=")
        radius = pure_radius(rows[np.concatenate([state.labelled, state.candidates])], clusters, generator)
    elif not radius > 0:
        raise Misuse(f"radius of probcover is {radius:g}, expected above 0")
    candidates, labelled = rows[state.candidates], rows[state.labelled]
    squares = nearest_distances(candidates, labelled)
    chosen = most_covering(candidates, squares >= radius**2, k, radius=radius)
    if len(chosen) < k:
        left = np.setdiff1d(np.arange(len(candidates)), chosen)
        squares = np.minimum(squares, nearest_distances(candidates, candidates[chosen]))[left]
        chosen = [*chosen, *left[farthest_first(candidates[left], squares, k - len(chosen))]]
    return state.candidates[chosen]


def most_covering(rows: np.ndarray, uncovered: np.ndarray, k: int, *, radius: float) -> list[int]:
    """Return up to k rows, each reaching most uncovered ones when taken.

    uncovered: [rows] of bool. It ends when all are covered.
    """
    uncovered, degrees = uncovered.copy(), reached_by(rows, rows[uncovered], radius)
    chosen: list[int] = []
    while len(chosen) < k and degrees.max() > 0:
        chosen.append(int(degrees.argmax()))
        degrees[chosen[-1]] = -1
        now = uncovered & (squared_distances(rows[chosen[-1:]], rows)[0] < radius**2)
        degrees -= reached_by(rows, rows[now], radius)
        uncovered &= ~now
    return chosen


def reached_by(rows: np.ndarray, others: np.ndarray, radius: float) -> np.ndarray:  # [rows]
    """Count the others that lie nearer to every row than the radius."""
    counts = np.zeros(len(rows), dtype=np.int64)
    if len(others):
        for part in blocks(len(rows), len(others)):
            counts[part] = (squared_distances(rows[part], others) < radius**2).sum(1)
    return counts


def pure_radius(rows: np.ndarray, clusters: int, generator: np.random.Generator) -> float:
    """Return the largest radius at which 95 % of balls are pure.

    Pure is a ball around a row that holds one of the clusters of k-means only.
    """
    numbers, _ = cluster(rows, clusters, generator)
    squares = np.sort(to_other_clusters(rows, numbers))
    # A ball is open, so that one as wide as the nearest other clip holds none; a little less, as distances are rounded.
    return float(np.sqrt(squares[int((1 - PURE) * len(squares))])) * (1 - EQUAL)


def to_other_clusters(rows: np.ndarray, clusters: np.ndarray) -> np.ndarray:  # [rows]
    """Compute each row's squared distance to the nearest of another cluster.

    With one cluster it is the widest there is.
    """
    squares = np.empty(len(rows))
    for number in np.unique(clusters):
        own = clusters == number
        squares[own] = nearest_distances(rows[own], rows[~own])
    return np.minimum(squares, WIDEST)
