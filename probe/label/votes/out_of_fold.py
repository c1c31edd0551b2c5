"""Let a linear probe answer for clips that it has not learnt from, as the prior of what votes come to."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, softmax

from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.fit.last_map import fit_sigmoids, fit_softmax

PENALTY = 10.0  # 1/C of the logistic regression: labels are few and some of them wrong
ROUNDS = 5  # of votes and probe in turns


class OutOfFold:
    """A linear probe that is refitted, once a fold, whenever it is asked.

    Called with soft targets [clips, classes], it returns probabilities of that shape, each by the probe that has learnt from
    the other folds.
    """

    def __init__(
        self,
        features: np.ndarray,
        folds: np.ndarray,
        *,
        several: bool = False,
        penalty: float = PENALTY,
        progress: ShowProgress = show_nothing,
    ) -> None:
        """Note the clips.

        features: [clips, dim], standardised.
        folds: [clips], such that clips of one recording are in one.
        several: whether a clip may have several classes.
        penalty: of the weights, not of the intercept.
        progress: is told of every fit, of those that `ROUNDS` need.
        """
        self.folds, self.numbers, self.several, self.progress = folds, np.unique(folds), several, progress
        if len(self.numbers) < 2:
            raise OscineError("all clips are in one fold, which leaves none to learn from; deal them into two at least")
        self.rows = np.hstack([features, np.ones((len(features), 1))])
        self.penalties = np.append(np.full(features.shape[1], penalty), 0.0)
        self.fits = 0

    def __call__(self, targets: np.ndarray) -> np.ndarray:  # [clips, classes]
        answers, fit = np.empty(targets.shape), fit_sigmoids if self.several else fit_softmax
        for fold in self.numbers:
            own = self.folds == fold
            logits = self.rows[own] @ fit(self.rows[~own], targets[~own], self.penalties).T
            answers[own] = expit(logits) if self.several else softmax(logits, axis=1)
            self.fits += 1
            total = (ROUNDS + 1) * len(self.numbers)
            self.progress(self.fits, max(total, self.fits))
        return answers
