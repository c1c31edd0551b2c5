"""Let a linear probe answer for clips that it has not learnt from, as the prior of what votes come to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit, softmax

from oscine.models.errors import OscineError
from oscine.probe.fit.last_map import fit_sigmoids, fit_softmax

PENALTY = 10.0  # 1/C of the logistic regression: labels are few and some of them wrong


def out_of_fold(
    features: np.ndarray, folds: np.ndarray, *, several: bool = False, penalty: float = PENALTY
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what refits a linear probe to soft targets [clips, classes] and answers with probabilities of that shape.

    features [clips, dim], standardised; folds [clips]: the probe of each fold learns from the others, so that clips of one
    recording belong into one. several: whether a clip may have several classes.
    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise OscineError("all clips are in one fold, which leaves none to learn from; deal them into two at least")
    rows = np.hstack([features, np.ones((len(features), 1))])
    penalties = np.full(rows.shape[1], penalty)
    penalties[-1] = 0.0  # of the intercept
    fit, activate = (fit_sigmoids, expit) if several else (fit_softmax, _softmax)

    def answer(targets: np.ndarray) -> np.ndarray:  # [clips, classes]
        answers = np.empty(targets.shape)
        for fold in numbers:
            own = folds == fold
            answers[own] = activate(rows[own] @ fit(rows[~own], targets[~own], penalties).T)
        return answers

    return answer


def _softmax(logits: np.ndarray) -> np.ndarray:
    return softmax(logits, axis=1)
