"""Fit the last linear map of a probe to labels, hard or soft, by logistic regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

STEPS = 1000  # of L-BFGS at most
TOLERANCE = 1e-9  # of its gradient and its value
NEVER = -1e9  # the logit of a class that no labelled clip has, where a clip has one class


def fit_with_intercept(
    features: np.ndarray, targets: np.ndarray, penalty: float, *, several: bool
) -> tuple[np.ndarray, np.ndarray]:  # [classes, dim], [classes]
    """Fit weights with a penalty, and an intercept without.

    features [clips, dim]; targets [clips, classes]. several: a sigmoid a class; else a softmax over the classes that some
    clip has, while the others get weights 0 and the intercept `NEVER`.
    """
    rows = np.hstack([features, np.ones((len(features), 1))])
    penalties = np.append(np.full(features.shape[1], penalty), 0.0)
    if several:
        found = fit_sigmoids(rows, targets, penalties)
    else:
        seen = targets.sum(0) > 0
        found = np.zeros((targets.shape[1], rows.shape[1]))
        found[:, -1] = NEVER
        found[seen] = fit_softmax(rows, targets[:, seen], penalties)
    return found[:, :-1], found[:, -1]


def fit_softmax(rows: np.ndarray, targets: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:  # [classes, dim]
    """Fit one map for all classes: minimise cross-entropy + penalty / 2 |W|^2.

    rows [rows, dim], with a column of 1 where there is to be an intercept; targets [rows, classes], how likely each class
    is: a clip without any counts for nothing. penalty: of all weights, or [dim] of those of each column.
    """
    totals = targets.sum(1)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(targets.shape[1], -1)
        logits = rows @ weight.T
        largest = logits.max(1, keepdims=True)
        shares = np.exp(logits - largest)  # scipy's softmax and logsumexp take most of the time of a small fit
        sums = shares.sum(1, keepdims=True)
        value = totals @ (largest + np.log(sums))[:, 0] - np.vdot(targets, logits)
        gradient = (shares * (totals[:, None] / sums) - targets).T @ rows
        return value + (penalty * weight**2).sum() / 2, (gradient + penalty * weight).ravel()

    return _minimise(loss, (targets.shape[1], rows.shape[1]))


def fit_sigmoids(rows: np.ndarray, targets: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:  # [classes, dim]
    """Fit a map of its own for every class, with the penalties of `fit_softmax`.

    rows [rows, dim], whose last column is 1; targets [rows, classes] in [0, 1], NaN where nobody has said. A class that all
    of its clips have, or none, cannot be fitted: it gets weights 0 and the logit of its share, half a clip added to both
    sides.
    """
    known = ~np.isnan(targets)
    wanted = np.where(known, targets, 0.0)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(targets.shape[1], -1)
        logits = rows @ weight.T
        value = (known * np.logaddexp(0.0, logits)).sum() - np.vdot(wanted, logits)
        gradient = (known * expit(logits) - wanted).T @ rows
        return value + (penalty * weight**2).sum() / 2, (gradient + penalty * weight).ravel()

    weight = _minimise(loss, (targets.shape[1], rows.shape[1]))
    present, asked = wanted.sum(0), known.sum(0)
    one_sided = (present == 0) | (present == asked)
    weight[one_sided] = 0.0
    weight[one_sided, -1] = np.log((present + 0.5) / (asked - present + 0.5))[one_sided]
    return weight


def _minimise(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], shape: tuple[int, int]) -> np.ndarray:
    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "gtol": TOLERANCE, "ftol": TOLERANCE * np.finfo(float).eps}
    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape)
