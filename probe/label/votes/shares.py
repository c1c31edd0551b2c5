"""Combine votes by counting them: shares, which clips are tied, and what people who spread points have said."""

from __future__ import annotations

import numpy as np

from oscine.models.errors import OscineError

NOBODY = -1  # in arrays of votes: this person was not asked, or could not tell


def vote_shares(votes: np.ndarray, classes: int) -> np.ndarray:  # [clips, classes]
    """Compute which share of a clip's votes each class has.

    Clips without a vote have equal shares. votes: class numbers [clips, annotators], `NOBODY` where there is none.
    """
    counts = one_hot(votes, classes).sum(1)
    total = counts.sum(1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), 1 / classes)


def find_tied(shares: np.ndarray) -> np.ndarray:  # [clips]
    """Tell of which clips several classes have the largest share."""
    return (shares == shares.max(1, keepdims=True)).sum(1) > 1


def likelihood_shares(points: np.ndarray) -> np.ndarray:  # [clips, classes]
    """Average the points that people spread over classes, each person's divided by their sum.

    points [clips, annotators, classes], negative where nobody was asked.
    """
    asked = np.all(points >= 0, axis=2)
    given = np.where(asked[:, :, None], points, 0.0)
    totals, people = given.sum(2, keepdims=True), asked.sum(1)[:, None]
    if len(bad := np.argwhere(asked & (totals[:, :, 0] == 0))):
        raise OscineError(f"annotator {bad[0, 1]} spread no points over the classes of clip {bad[0, 0]}; give some")
    spread = (given / np.where(totals > 0, totals, 1.0)).sum(1)
    return np.where(people > 0, spread / np.maximum(people, 1), 1 / points.shape[2])


def one_hot(votes: np.ndarray, classes: int) -> np.ndarray:  # [clips, annotators, classes]
    """Put 1 where an annotator named a class."""
    return (np.asarray(votes)[:, :, None] == np.arange(classes)).astype(float)


def votes_per_clip(votes: np.ndarray) -> float:
    """Return how many votes a clip has on average, of clips that have one."""
    asked = (votes != NOBODY).sum(1)
    return float(asked[asked > 0].mean()) if asked.any() else 0.0
