"""Estimate what sounds in clips, and how each annotator errs, from each other: Dawid-Skene and its kin.

All of them alternate two steps. Given how each annotator errs, a clip's class follows from its prior and its votes; given
the clips' classes, an annotator's errors are counted. Dawid and Skene take the share of each class as the prior of all
clips; Raykar et al. (2010) what a probe says of the clip, which is refitted in every round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.special import softmax

from oscine.models.errors import OscineError
from oscine.probe.label.votes.shares import one_hot, vote_shares, votes_per_clip

FLOOR = 1e-10  # of counts: what was never seen stays possible
TINY = 1e-300  # below which a probability counts as this one; what is 0 in a confusion was never said, and asked by no vote
ENOUGH = (
    2.0  # votes a clip, below which numbers for every pair of classes and every annotator cannot be told from nothing
)


@dataclass(frozen=True)
class Consensus:
    """What votes come to.

    posterior  [clips, classes], how likely each class is
    prior      [classes] or [clips, classes], before the votes
    confusion  [annotators, true class, said class]
    gains      the evidence lower bound a vote after every round, where rounds are stopped by it
    """

    posterior: np.ndarray
    prior: np.ndarray
    confusion: np.ndarray
    gains: list[float] = field(default_factory=list)


Prior = Callable[[np.ndarray], np.ndarray]  # posterior [clips, classes] to the prior [classes] or [clips, classes]
Errors = Callable[[np.ndarray, np.ndarray], np.ndarray]  # posterior and one-hot votes to the confusion


def dawid_skene(
    votes: np.ndarray, classes: int, *, smoothing: float = 0.0, rounds: int = 100, tolerance: float = 1e-5
) -> Consensus:
    """Estimate classes and a confusion matrix an annotator (Dawid & Skene, 1979).

    votes: class numbers [clips, annotators], -1 where nobody was asked. smoothing: added to each count of a confusion.
    Refused below `ENOUGH` votes a clip on average. tolerance: rounds end when the bound gains less a vote.
    """
    if (each := votes_per_clip(votes)) < ENOUGH:
        raise OscineError(
            f"{each:.2g} votes a clip on average, Dawid-Skene needs {ENOUGH:g}: {classes} x {classes} numbers an annotator "
            "are not to be had from fewer; take one_coin or majority, or with embeddings of the clips probe"
        )
    return alternate(votes, classes, partial(count_errors, smoothing=smoothing), rounds=rounds, tolerance=tolerance)


def one_coin(votes: np.ndarray, classes: int, *, rounds: int = 100, tolerance: float = 1e-5) -> Consensus:
    """Estimate classes and one skill an annotator, the confusion's diagonal.

    Arguments as for `dawid_skene`.
    """
    return alternate(votes, classes, count_skills, rounds=rounds, tolerance=tolerance)


def combine_with_probe(
    votes: np.ndarray, classes: int, refit: Prior, *, smoothing: float = 0.1, rounds: int = 5
) -> Consensus:
    """Estimate classes and errors with a probe's answers as priors.

    After Raykar et al., 2010. refit: fits the probe to soft targets [clips, classes] and returns its probabilities of
    the clips, of those that it has not learnt from (`OutOfFold`): a probe that answers for what it has learnt confirms
    itself.
    """
    return alternate(
        votes, classes, partial(count_errors, smoothing=smoothing), refit=refit, rounds=rounds, tolerance=None
    )


def alternate(
    votes: np.ndarray,
    classes: int,
    count: Errors,
    *,
    refit: Prior = lambda posterior: posterior.mean(0),
    rounds: int,
    tolerance: float | None,
) -> Consensus:
    """Alternate between the classes of clips and the errors of annotators.

    The first classes are the shares of the votes.
    """
    said = one_hot(votes, classes)
    posterior = vote_shares(votes, classes)
    prior, confusion = refit(posterior), count(posterior, said)
    gains: list[float] = []
    for _ in range(rounds):
        posterior = softmax(_log(prior) + log_votes(said, confusion), axis=1)
        prior, confusion = refit(posterior), count(posterior, said)
        if tolerance is not None:
            gains.append(_evidence(posterior, said, prior=prior, confusion=confusion))
            if len(gains) > 1 and gains[-1] - gains[-2] < tolerance:
                break
    return Consensus(posterior, prior, confusion, gains)


def count_errors(posterior: np.ndarray, said: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    """Count how often each annotator said which class for which.

    Returns [annotators, true, said], whose rows sum to 1. Without smoothing a class that an annotator has never named is
    0 in all rows, and others are `FLOOR` at least.
    """
    counts = np.einsum("ic,imk->mck", posterior, said, optimize=True) + smoothing
    if not smoothing:
        counts = np.where(said.max(0)[:, None, :] > 0, np.maximum(counts, FLOOR), 0.0)
    total = counts.sum(2, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1.0), 1 / counts.shape[2])


def count_skills(posterior: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Count how often each annotator is right.

    What is left is spread evenly over the other classes.
    """
    votes, classes = said.sum((0, 2)), said.shape[2]
    right = np.einsum("ic,imc->m", posterior, said, optimize=True) / np.maximum(votes, 1)
    skill = np.clip(np.where(votes > 0, right, 1 / classes), FLOOR, 1 - FLOOR)[:, None, None]
    same = np.eye(classes, dtype=bool)
    return np.where(same, skill, (1 - skill) / max(1, classes - 1))


def log_votes(said: np.ndarray, confusion: np.ndarray) -> np.ndarray:  # [clips, classes]
    """Add up the log-probabilities of a clip's votes under each class."""
    return np.einsum("imk,mck->ic", said, _log(confusion), optimize=True)


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, TINY))


def _evidence(posterior: np.ndarray, said: np.ndarray, *, prior: np.ndarray, confusion: np.ndarray) -> float:
    """Compute the evidence lower bound a vote.

    As crowd-kit, which stops by it, has it: the prior counts for every vote.
    """
    votes = said.sum((1, 2))
    joint = log_votes(said, confusion) + votes[:, None] * _log(prior)
    kept = np.maximum(posterior, FLOOR)
    return float(((posterior * joint).sum() - (kept * np.log(kept)).sum()) / votes.sum())
