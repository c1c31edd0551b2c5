"""The Fisher information of clips at a probe's last map, as the factors V_i of I_i = V_i^T V_i.

V_i = signs_i (x) phi_i is never written out: products with it are products with phi, then with the signs of its clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oscine.probe.label.geometry import blocks


@dataclass(frozen=True)
class Factors:
    """Factors of every clip: signs [clips, rank, classes] and features [clips, dim].

    Where the information is w phi phi^T, signs [clips, 1, 1] are the square roots of w.
    """

    signs: np.ndarray
    rows: np.ndarray

    @property
    def dim(self) -> int:
        return self.signs.shape[2] * self.rows.shape[1]

    def of(self, clips: np.ndarray | slice) -> Factors:
        return Factors(self.signs[clips], self.rows[clips])

    def times(self, vectors: np.ndarray) -> np.ndarray:  # [clips, rank, vectors]
        """Multiply every V_i by vectors [classes * dim, vectors]."""
        classes, dim = self.signs.shape[2], self.rows.shape[1]
        along = self.rows @ vectors.reshape(classes, dim, -1).transpose(1, 0, 2).reshape(dim, -1)
        return self.signs @ along.reshape(len(self.rows), classes, -1)

    def inside(self, matrix: np.ndarray) -> np.ndarray:  # [clips, rank, rank]
        """Compute V_i matrix V_i^T for every clip; matrix [classes * dim, classes * dim]."""
        classes, dim = self.signs.shape[2], self.rows.shape[1]
        cells = matrix.reshape(classes, dim, classes, dim)
        found = np.empty((len(self.rows), classes, classes))
        for part in blocks(len(self.rows), dim):
            for one in range(classes):
                for other in range(classes):
                    found[part, one, other] = ((self.rows[part] @ cells[one, :, other]) * self.rows[part]).sum(1)
        return self.signs @ found @ self.signs.transpose(0, 2, 1)

    def information(self) -> np.ndarray:  # [classes * dim, classes * dim]
        """Sum V_i^T V_i over all clips."""
        classes, dim = self.signs.shape[2], self.rows.shape[1]
        weights = self.signs.transpose(0, 2, 1) @ self.signs  # [clips, classes, classes]
        cells = np.empty((classes, dim, classes, dim))
        for one in range(classes):
            for other in range(classes):
                cells[one, :, other] = (self.rows * weights[:, one, other, None]).T @ self.rows
        return cells.reshape(self.dim, self.dim)


def exact(p: np.ndarray) -> np.ndarray:  # [clips, classes, classes]
    """Compute signs of all labels y: sqrt(p_y) (e_y - p)."""
    return np.sqrt(p)[:, :, None] * (np.eye(p.shape[1]) - p[:, None])


def top_classes(p: np.ndarray, top: int) -> np.ndarray:  # [clips, top, classes]
    """Compute signs of the likeliest labels alone.

    Their p are divided by their sum; e_y - p keeps the true p.
    """
    likeliest = np.argsort(-p, axis=1, kind="stable")[:, :top]
    shares = np.take_along_axis(p, likeliest, axis=1)
    shares = shares / shares.sum(1, keepdims=True)
    return np.sqrt(shares)[:, :, None] * (np.eye(p.shape[1])[likeliest] - p[:, None])


def binary(p: np.ndarray) -> np.ndarray:  # [clips, 1, 1]
    """Compute the sign of the likeliest class against all others.

    It is sqrt(p_1 (1 - p_1)).
    """
    return np.sqrt(p.max(1) * (1 - p.max(1)))[:, None, None]


def pooled(p: np.ndarray) -> np.ndarray:  # [clips, 1, 1]
    """Compute the sign of all classes' sigmoids in one block.

    It is the root of sum_c p_c (1 - p_c).
    """
    return np.sqrt((p * (1 - p)).sum(1))[:, None, None]


def one_class(p: np.ndarray) -> np.ndarray:  # [clips, 1, 1]
    """Compute the sign of one class's sigmoid, p [clips]."""
    return np.sqrt(p * (1 - p))[:, None, None]
