"""Choose the clips of which the probe is least sure: margin, least confidence, entropy, BALD; LCI.

One label a clip: of the softmax. Several: of each class's sigmoid, over classes. Larger scores are less sure.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, expit, softmax

from oscine.probe.label.geometry import blocks, largest
from oscine.probe.label.state import State


def margin(
    state: State, k: int, generator: np.random.Generator, *, worst: bool = False, balance: bool = False
) -> np.ndarray:
    """Choose the clips whose two likeliest classes are nearest to each other.

    worst: several labels; by the least certain class instead of the mean over classes
    balance: several labels; classes with few positives weigh more
    """
    return state.candidates[largest(margins(state, worst=worst, balance=balance), k)]


def least_confidence(state: State, k: int, generator: np.random.Generator, *, balance: bool = False) -> np.ndarray:
    """Choose the clips whose likeliest class is least likely. balance: as in `margin`."""
    p = state.of_candidates("probabilities")
    scores = (np.minimum(p, 1 - p) * _weights(state, balance)).mean(1) if state.several else 1 - p.max(1)
    return state.candidates[largest(scores, k)]


def entropy(state: State, k: int, generator: np.random.Generator, *, balance: bool = False) -> np.ndarray:
    """Choose the clips whose probabilities have the most entropy. balance: as in `margin`."""
    p = state.of_candidates("probabilities")
    scores = (binary_entropy(p) * _weights(state, balance)).sum(1) if state.several else entr(p).sum(1)
    return state.candidates[largest(scores, k)]


def bald(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose the clips about which draws of the posterior disagree most."""
    return state.candidates[largest(disagreement(state), k)]


def lci(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose the clips with an unusual number of predicted labels.

    Unusual is what differs most from the labelled clips' mean number.
    """
    p = state.of_candidates("probabilities")
    usual = np.nansum(state.labels) / max(1, len(state.labels)) if state.several else 1.0
    return state.candidates[largest(abs((p >= 1 / 2).sum(1) - usual), k)]


def margins(state: State, *, worst: bool = False, balance: bool = False) -> np.ndarray:  # [candidates]
    """Compute how near the two likeliest classes are, or presence and absence."""
    return margins_of(state.of_candidates("probabilities"), state, worst=worst, balance=balance)


def margins_of(
    p: np.ndarray, state: State, *, worst: bool = False, balance: bool = False
) -> np.ndarray:  # [candidates]
    """Compute `margins` of the probabilities [candidates, classes] that are given."""
    if not state.several:
        second, first = np.partition(p, -2, axis=1)[:, -2:].T
        return 1 - (first - second)
    classes = (1 - 2 * abs(p - 1 / 2)) * _weights(state, balance)
    return classes.max(1) if worst else classes.mean(1)


def binary_entropy(p: np.ndarray) -> np.ndarray:
    """Compute the entropy of present against absent, for every probability."""
    return entr(p) + entr(1 - p)


def disagreement(state: State) -> np.ndarray:  # [candidates]
    """Compute BALD: the mean's entropy less the draws' mean entropy."""
    samples = state.need("samples")
    found = np.empty(len(state.candidates))
    for part in blocks(len(found), samples[0].size):
        logits = samples[state.candidates[part]]  # [candidates, draws, classes]
        p, of = (expit(logits), binary_entropy) if state.several else (softmax(logits, axis=2), entr)
        found[part] = of(p.mean(1)).sum(1) - of(p).sum(2).mean(1)
    return found


def _weights(state: State, balance: bool) -> np.ndarray | float:
    """Weigh every class by 1 / (1 + its labelled clips), or all alike."""
    return 1 / (1 + state.positives) if balance else 1.0
