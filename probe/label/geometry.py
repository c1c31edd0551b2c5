"""Distances between clips in blocks, the lowest clip of equal ones, and k-means."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

BLOCK = 2**22  # numbers at once: 32 MB in float64
EQUAL = 1e-10  # of the largest value: rounding sets equal clips apart by less
FEW = 50  # clusters that TypiClust's authors still make with all clips at every step
BATCH = 5000  # their batch above


def blocks(rows: int, width: int) -> list[slice]:
    """Cut rows, each so many numbers wide, into stretches of BLOCK numbers."""
    step = max(1, BLOCK // max(1, width))
    return [slice(start, start + step) for start in range(0, rows, step)]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Divide rows by their lengths; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1, lengths)


def first_largest(values: np.ndarray, scale: float | None = None) -> int:
    """Return the first of the largest values.

    scale: what rounding is small beside, if not beside the largest value.
    """
    most = values.max()
    nothing = EQUAL * (abs(most) if scale is None else scale)
    return int(np.argmax(values >= (most - nothing if np.isfinite(most) else most)))


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the numbers of the k largest scores, the largest first.

    Of equal ones the lowest number is first.
    """
    return np.argsort(-scores, kind="stable")[:k]


def squared_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:  # [rows, others]
    """Compute squared Euclidean distances, to within rounding.

    `distances_to` is exact, and slower for many others.
    """
    squares = (rows**2).sum(1)[:, None] + (others**2).sum(1) - 2 * (rows @ others.T)
    return np.maximum(squares, 0, out=squares)


def distances_to(rows: np.ndarray, one: np.ndarray) -> np.ndarray:  # [rows]
    """Compute exact squared distances of rows to one.

    They are 0 for the same numbers, and equal for equal rows.
    """
    squares = np.empty(len(rows))
    for part in blocks(len(rows), rows.shape[1]):
        squares[part] = ((rows[part] - one) ** 2).sum(1)
    return squares


def nearest_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:  # [rows]
    """Compute squared distances to the nearest of others; infinite without any."""
    squares = np.full(len(rows), np.inf)
    if len(others):
        for part in blocks(len(rows), max(others.shape)):
            nearest = squared_distances(rows[part], others).argmin(1)
            squares[part] = ((rows[part] - others[nearest]) ** 2).sum(1)
    return squares


def neighbour_distances(rows: np.ndarray, count: int) -> np.ndarray:  # [rows, count], rising
    """Compute each row's squared distances to its nearest `count` rows."""
    squares = np.empty((len(rows), count))
    for part in blocks(len(rows), max(len(rows), count * rows.shape[1])):
        apart = squared_distances(rows[part], rows)
        np.fill_diagonal(apart[:, part], np.inf)  # a row is not its own neighbour
        near = np.argpartition(apart, count - 1, axis=1)[:, :count]
        squares[part] = np.sort(((rows[part][:, None] - rows[near]) ** 2).sum(2), axis=1)
    return squares


def cluster(rows: np.ndarray, clusters: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Run k-means once: each row's cluster, and the centres.

    [rows], [clusters, dim]. Equal rows leave clusters empty.
    """
    seed = int(generator.integers(2**31))
    clusters = min(clusters, len(rows))
    fit: Any = KMeans(clusters) if clusters <= FEW else MiniBatchKMeans(clusters, batch_size=BATCH)
    fit.set_params(random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters
        numbers = fit.fit_predict(rows)
    return numbers, fit.cluster_centers_


def nearest_to_centres(rows: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Return the rows nearest to the centres of k clusters, each once."""
    numbers, centres = cluster(rows, k, generator)
    chosen = []
    for number in np.unique(numbers):
        own = np.flatnonzero(numbers == number)
        chosen.append(own[first_largest(-distances_to(rows[own], centres[number]))])
    return np.array(chosen, dtype=np.int64)
