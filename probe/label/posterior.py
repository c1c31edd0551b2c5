"""The posterior of a probe's last linear map, and its update with every new label.

Laplace's approximation: W ~ N(fitted W, covariance), with the inverse covariance prior 1 + sum_i m_i phi_i phi_i^T over the
labelled clips. A label more is an update of rank one in closed form (arXiv 2210.06112), where a refit starts anew.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import numpy as np
from scipy.special import expit, softmax

from oscine.models.errors import OscineError
from oscine.probe.fit.last_map import fit_sigmoids, fit_softmax
from oscine.probe.label.geometry import unit_rows

GAMMA = 5.0  # measured on real sound: keeps about .7 of what a refit gains, on rows of length 1; published is 10
DESTROYS = 20.0  # and from here on an update may leave less than it found
KAPPA = np.pi / 8  # of the mean field: the probit that is nearest to a sigmoid
SYMMETRISE, REBUILD = 100, 1000  # updates after which rounding is taken out of the covariance
LARGEST = 2_000  # numbers in a map whose exact covariance is made

# How much a clip of these probabilities [rows, classes] counts in the precision, [rows, blocks]: one block that all classes
# share, or one for each. "shared" and "categorical" as published, "per_class" the exact posterior of sigmoids.
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shared": lambda p: np.ones((len(p), 1)),
    "categorical": lambda p: p.max(1, keepdims=True) * (1 - p.max(1, keepdims=True)),
    "per_class": lambda p: p * (1 - p),
}

logger = logging.getLogger(__name__)


class LastLayerLaplace:
    """The last map of a probe, refitted, and how sure it is.

    weight      [classes, dim + 1], of rows of length 1 with a 1 behind; never the probe's own, whose logits are others
    covariance  [blocks, dim + 1, dim + 1], a block that all classes share, or one a class
    precision   of the same shape, its inverse
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        classes: int | None = None,
        several: bool = False,
        form: str = "shared",
        gamma: float = GAMMA,
        penalty: float = 0.1,
        prior: float | None = None,
        weight: np.ndarray | None = None,
    ) -> None:
        """Fit the map to labels and take its posterior.

        features: [clips, dim], the input of the probe's last map.
        labels: class numbers [clips]; with `several`, [clips, classes] of 0 and 1, NaN where nobody has said.
        classes: how many there are, where some may have no label yet.
        form: of the covariance, shared, categorical (one label a clip) or per_class.
        gamma: the length of an update's step; per_class needs none.
        penalty: of the fit, 1/C of a logistic regression.
        prior: precision without any label; by default 1, of per_class the penalty: an update is then a step of Newton's.
        weight: a map that was fitted so already.
        """
        if form not in FORMS or (several and form == "categorical"):
            known = [name for name in FORMS if not (several and name == "categorical")]
            raise OscineError(f"no covariance {form!r}{' of several labels' * several}; expected {', '.join(known)}")
        if gamma >= DESTROYS and form != "per_class":
            logger.warning(
                "updates with gamma %g: from %g on they destroy the probe on rows of length 1; %g is safe",
                gamma, DESTROYS, GAMMA,
            )  # fmt: skip
        self.several, self.form = several, form
        self.gamma = 1.0 if form == "per_class" else gamma
        rows, targets = input_rows(features), _targets(labels, classes, several)
        _check_lengths(rows, targets)
        fit = fit_sigmoids if several else fit_softmax
        self.weight = fit(rows, targets, penalty) if weight is None else np.asarray(weight, float)
        self.prior = prior if prior is not None else penalty if form == "per_class" else 1.0
        counts = self._curvature(rows, targets)
        self.precision = self.prior * np.eye(rows.shape[1]) + np.einsum(
            "nb,nd,ne->bde", counts, rows, rows, optimize=True
        )
        self.covariance = np.linalg.inv(self.precision)
        self.updates = 0

    def updated(self, features: np.ndarray, labels: np.ndarray) -> LastLayerLaplace:
        """Return the posterior that has taken in more labels, one after the other.

        Shapes as for the constructor. Whoever takes a label back goes on from the posterior of before.
        """
        new = copy.copy(self)
        rows, targets = input_rows(features), _targets(labels, len(self.weight), self.several)
        _check_lengths(rows, targets)
        self._check_width(rows)
        for row, target in zip(rows, targets, strict=True):
            new._take(row, target)
        return new

    def _take(self, row: np.ndarray, target: np.ndarray) -> None:
        """Update the covariance, then the weight, with a clip.

        The step is by the new covariance and the probabilities of before.
        """
        probabilities = self._activate(row @ self.weight.T)
        counts = self._curvature(row[None], target[None])[0][:, None, None]  # [blocks, 1, 1]
        moved = self.covariance @ row  # [blocks, dim]
        outer = moved[:, :, None] * moved[:, None, :]
        self.covariance = self.covariance - counts * outer / (1 + counts * (moved @ row)[:, None, None])
        self.precision = self.precision + counts * np.outer(row, row)
        error = np.where(np.isnan(target), 0.0, target - probabilities)
        self.weight = self.weight + self.gamma * error[:, None] * (self.covariance @ row)
        self.updates += 1
        if self.updates % REBUILD == 0:
            self.covariance = np.linalg.inv(self.precision)
        elif self.updates % SYMMETRISE == 0:
            self.covariance = (self.covariance + self.covariance.transpose(0, 2, 1)) / 2

    def covariance_with(self, features: np.ndarray) -> np.ndarray:  # [blocks, dim + 1, dim + 1]
        """Return the covariance with these clips' labels, whatever they are."""
        rows = input_rows(features)
        self._check_width(rows)
        counts = self._curvature(rows, np.zeros((len(rows), len(self.weight))))  # [rows, blocks]
        scaled = np.sqrt(counts.T)[:, :, None] * rows  # [blocks, rows, dim]
        moved = scaled @ self.covariance  # [blocks, rows, dim]
        inner = np.eye(len(rows)) + moved @ scaled.transpose(0, 2, 1)
        return self.covariance - moved.transpose(0, 2, 1) @ np.linalg.solve(inner, moved)

    def logits(self, features: np.ndarray) -> np.ndarray:  # [clips, classes]
        """Compute the logits of the fitted map, without its uncertainty."""
        rows = input_rows(features)
        self._check_width(rows)
        return rows @ self.weight.T

    def variance(self, features: np.ndarray) -> np.ndarray:  # [clips, classes]
        """Compute the variance of every logit.

        Where classes share the covariance, it is the same for all.
        """
        rows = input_rows(features)
        self._check_width(rows)
        found = np.stack([np.einsum("nd,nd->n", rows @ block, rows) for block in self.covariance], axis=1)
        return np.broadcast_to(found, (len(rows), len(self.weight)))

    def mean_field_logits(self, features: np.ndarray, kappa: float = KAPPA) -> np.ndarray:  # [clips, classes]
        """Compute logits whose probabilities are nearly the posterior's mean."""
        return self.logits(features) / np.sqrt(1 + kappa * self.variance(features))

    def probabilities(self, features: np.ndarray, kappa: float = KAPPA) -> np.ndarray:  # [clips, classes]
        """Compute the mean-field probabilities of every class."""
        return self._activate(self.mean_field_logits(features, kappa))

    def samples(self, features: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """Draw logits [clips, count, classes], those of classes apart from each other."""
        logits, spread = self.logits(features)[:, None], np.sqrt(self.variance(features))[:, None]
        return logits + spread * generator.standard_normal((len(logits), count, len(self.weight)))

    def _activate(self, logits: np.ndarray) -> np.ndarray:
        return expit(logits) if self.several else softmax(logits, axis=-1)

    def _curvature(self, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:  # [rows, blocks]
        """Tell how much clips count in each block.

        In a class of its own, a clip of which nobody has said counts nothing.
        """
        counts = FORMS[self.form](self._activate(rows @ self.weight.T))
        return counts * ~np.isnan(targets) if counts.shape == targets.shape else counts

    def _check_width(self, rows: np.ndarray) -> None:
        if rows.shape[1] != self.weight.shape[1]:
            raise OscineError(
                f"features are {rows.shape[1] - 1} wide, those that were fitted {self.weight.shape[1] - 1}; take them from "
                "the same probe"
            )


def input_rows(features: np.ndarray) -> np.ndarray:  # [clips, dim + 1]
    """Scale rows to length 1 and append a 1; refuse what is not finite."""
    rows = np.atleast_2d(np.asarray(features, float))
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(1))):
        raise OscineError(f"the features of clip {bad[0]} are not finite ({len(bad)} such clips); embed it again")
    return np.hstack([unit_rows(rows), np.ones((len(rows), 1))])


def exact_covariance(features: np.ndarray, weight: np.ndarray, prior: float = 1.0) -> np.ndarray:
    """Return the exact covariance of a softmax map, for small ones.

    It is [classes * (dim + 1)] squared, class by class. features [clips, dim], weight [classes, dim + 1] as
    `LastLayerLaplace` has it.
    """
    rows, (classes, dim) = input_rows(features), weight.shape
    if classes * dim > LARGEST:
        raise OscineError(
            f"the exact covariance of {classes} classes and {dim} numbers has {classes * dim} rows, {LARGEST} at most are "
            "made; take LastLayerLaplace(form='per_class')"
        )
    p = softmax(rows @ weight.T, axis=1)
    inner = np.einsum("nc,ck->nck", p, np.eye(classes)) - np.einsum("nc,nk->nck", p, p)
    precision = np.einsum("nck,nd,ne->cdke", inner, rows, rows, optimize=True).reshape(classes * dim, -1)
    return np.linalg.inv(precision + prior * np.eye(classes * dim))


def _targets(labels: np.ndarray, classes: int | None, several: bool) -> np.ndarray:  # [clips, classes]
    """Return labels as a column a class."""
    labels = np.asarray(labels)
    if several:
        targets = np.atleast_2d(labels).astype(float)
        if classes not in (None, targets.shape[1]):
            raise OscineError(
                f"labels of {targets.shape[1]} classes, expected {classes}; give a column for every class"
            )
        if len(bad := np.flatnonzero(((targets < 0) | (targets > 1)).any(1))):
            raise OscineError(
                f"a label of clip {bad[0]} is outside of 0 to 1; expected 0, 1, or NaN where nobody has said"
            )
        return targets
    numbers = np.atleast_1d(labels)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise OscineError(f"labels of shape {labels.shape} and {labels.dtype}, expected one class number a clip")
    total = int(numbers.max(initial=0)) + 1 if classes is None else classes
    if len(bad := np.flatnonzero((numbers < 0) | (numbers >= total))):
        raise OscineError(f"clip {bad[0]} has the class {numbers[bad[0]]}, expected 0 to {total - 1}")
    return np.eye(total)[numbers]


def _check_lengths(rows: np.ndarray, targets: np.ndarray) -> None:
    if len(rows) != len(targets):
        raise OscineError(f"features of {len(rows)} clips and labels of {len(targets)}; give one label a clip")
