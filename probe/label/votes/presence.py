"""Combine votes on several labels a clip: present or absent, by annotators who miss some and imagine others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

ROUNDS = 20


class Presence(NamedTuple):
    """What votes on presence come to.

    posterior    [clips, classes], how likely each class sounds
    prior        [classes] or [clips, classes], before the votes
    sensitivity  [annotators], how often what sounds is said to; specificity: how often what does not is said not to
    """

    posterior: np.ndarray
    prior: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray


def combine_presence(
    votes: np.ndarray, refit: Callable[[np.ndarray], np.ndarray] | None = None, *, rounds: int = ROUNDS
) -> Presence:
    """Estimate which classes sound, and two rates of each annotator.

    All classes share the rates, whose prior is Beta(1, 1). votes [clips, annotators, classes] of 1, 0, and -1 where
    nobody was asked. refit: makes of the posterior [clips, classes] a prior of each clip, such as a probe's out of fold;
    by default each class has the share of clips in which it sounds.
    """
    yes, no = (votes == 1).astype(float), (votes == 0).astype(float)
    posterior = presence_shares(votes)
    for _ in range(rounds):
        prior = _shares(posterior) if refit is None else np.clip(refit(posterior), 1e-10, 1 - 1e-10)
        sensitivity, specificity = _rates(posterior, yes, no)
        for_yes, for_no = np.log(sensitivity / (1 - specificity)), np.log((1 - sensitivity) / specificity)
        posterior = expit(logit(prior) + np.einsum("imc,m->ic", yes, for_yes) + np.einsum("imc,m->ic", no, for_no))
    return Presence(posterior, prior, sensitivity, specificity)


def presence_shares(votes: np.ndarray) -> np.ndarray:  # [clips, classes]
    """Compute which share of those who were asked hears each class.

    Where nobody was asked, it is the share in all clips.
    """
    yes, no = (votes == 1).astype(float), (votes == 0).astype(float)
    asked = yes.sum(1) + no.sum(1)
    overall = (yes.sum((0, 1)) + 0.5) / (asked.sum(0) + 1)
    return np.where(asked > 0, yes.sum(1) / np.maximum(asked, 1), overall)


def _shares(posterior: np.ndarray) -> np.ndarray:  # [classes]
    return (posterior.sum(0) + 0.5) / (len(posterior) + 1)


def _rates(
    posterior: np.ndarray, yes: np.ndarray, no: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # [annotators] each
    sounds, silent = posterior[:, None, :], 1 - posterior[:, None, :]
    sensitivity = (1 + (sounds * yes).sum((0, 2))) / (2 + (sounds * (yes + no)).sum((0, 2)))
    specificity = (1 + (silent * no).sum((0, 2))) / (2 + (silent * (yes + no)).sum((0, 2)))
    return sensitivity, specificity
