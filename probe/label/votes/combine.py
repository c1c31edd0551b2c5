"""Combine the votes of several people: by counting, by how each of them errs, or with a probe of the clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oscine.models.errors import Misuse, OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.label.standardise import standardise
from oscine.probe.label.votes.consensus import combine_with_probe, dawid_skene, one_coin
from oscine.probe.label.votes.methods import (
    CROWD,
    DAWID_SKENE,
    LIKELIHOODS,
    MAJORITY,
    ONE_COIN,
    PRESENCE,
    PROBE,
    WITH_FEATURES,
    choose_method,
)
from oscine.probe.label.votes.out_of_fold import ROUNDS, OutOfFold
from oscine.probe.label.votes.presence import combine_presence, presence_shares
from oscine.probe.label.votes.shares import find_tied, likelihood_shares, vote_shares
from oscine.probe.label.votes.votes import Votes
from oscine.probe.tasks.groups import assign_folds, join_groups

FOLDS = 5


@dataclass(frozen=True)
class CombineSettings:
    """How votes are combined.

    method      a name of `methods`; None takes what the votes and the embeddings allow
    embeddings  table of `oscine embed` with the clips, for methods with a probe; column: of several in it
    """

    method: str | None = None
    embeddings: Path | None = None
    column: str | None = None
    seed: int = 0


class Combined(NamedTuple):
    """What votes come to, by which method, and why by that one.

    posterior [clips, classes]; tied [clips]: which ones the votes do not decide.
    """

    posterior: np.ndarray
    tied: np.ndarray
    method: str
    reason: str

    def labels(self, several: bool) -> np.ndarray:  # [clips, classes] of bool
        """Return which classes a clip has."""
        return (
            self.posterior >= 0.5 if several else np.eye(self.posterior.shape[1], dtype=bool)[self.posterior.argmax(1)]
        )

    def decided(self, several: bool) -> np.ndarray:  # [clips, classes]
        """Return the labels as numbers: of tied classes each has its part."""
        if several:
            return 0.5 + np.sign(self.posterior - 0.5) / 2
        most = self.posterior == self.posterior.max(1, keepdims=True)
        return most / most.sum(1, keepdims=True)

    def shares(self, several: bool) -> np.ndarray:  # [clips]
        """Return how sure a clip's label is; of several, the least sure."""
        return np.maximum(self.posterior, 1 - self.posterior).min(1) if several else self.posterior.max(1)


def combine_votes(votes: Votes, settings: CombineSettings, progress: ShowProgress = show_nothing) -> Combined:
    """Combine votes by the method that is named, or else chosen."""
    method, reason = choose_method(votes, settings.method, settings.embeddings)
    features = read_features(votes, settings) if method in WITH_FEATURES else np.empty((len(votes.clips), 0))
    posterior = _posterior(votes, method, features, seed=settings.seed, progress=progress)
    tied = (posterior == 0.5).any(1) if votes.several else find_tied(posterior)
    return Combined(posterior, tied, method, reason)


def read_features(votes: Votes, settings: CombineSettings) -> np.ndarray:  # [clips, dim]
    """Read the clips' embeddings, standardised over all of them."""
    if settings.embeddings is None:
        raise Misuse("this method looks at the clips; give their table with --embeddings, which oscine embed writes")
    from oscine.probe.features.embedding_table import read_vectors  # and torch, which counting does without

    return standardise(read_vectors(settings.embeddings, votes.clips, settings.column)).astype(np.float64)


def _posterior(
    votes: Votes, method: str, features: np.ndarray, *, seed: int, progress: ShowProgress
) -> np.ndarray:  # [clips, classes]
    said, classes = votes.said, len(votes.classes)

    def crowd(name: str) -> np.ndarray:
        from oscine.probe.label.votes.fit_crowd import fit_crowd

        return fit_crowd(features, said, classes, method=name, seed=seed, progress=progress).posterior

    def refit() -> OutOfFold:
        return OutOfFold(features, _folds(votes, seed), several=votes.several, progress=progress)

    several: dict[str, Callable[[], np.ndarray]] = {
        MAJORITY: lambda: presence_shares(said),
        PRESENCE: lambda: combine_presence(said).posterior,
        PROBE: lambda: combine_presence(said, refit(), rounds=ROUNDS + 1).posterior,
    }
    one: dict[str, Callable[[], np.ndarray]] = {
        MAJORITY: lambda: vote_shares(said, classes),
        LIKELIHOODS: lambda: likelihood_shares(np.asarray(votes.points)),
        DAWID_SKENE: lambda: dawid_skene(said, classes).posterior,
        ONE_COIN: lambda: one_coin(said, classes).posterior,
        PROBE: lambda: combine_with_probe(said, classes, refit(), rounds=ROUNDS).posterior,
        **{name: partial(crowd, name) for name in CROWD},
    }
    return (several if votes.several else one)[method]()


def _folds(votes: Votes, seed: int) -> np.ndarray:  # [clips]
    """Deal clips into folds, those of one recording into one, every class over all."""
    groups = int(join_groups(votes.clips).max()) + 1
    if groups < 2:
        raise OscineError(
            "all clips are of one recording, so that no probe can answer for others than it has learnt; take a method "
            "without embeddings, such as majority"
        )
    if votes.several:
        targets = (presence_shares(votes.said) >= 0.5).astype(np.uint8)
    else:
        targets = vote_shares(votes.said, len(votes.classes)).argmax(1)
    return assign_folds(votes.clips, targets, min(FOLDS, groups), seed)
