"""Learn from the answers so far: a last map on standardised features, and its posterior between two fits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from oscine.probe.fit.last_map import fit_with_intercept
from oscine.probe.label.journal import PRESENT, UNSURE, Answer
from oscine.probe.label.posterior import LastLayerLaplace

PENALTY = 1.0  # 1/C of the logistic regression, on rows whose mean length is 8
HALF_SURE = 0.5  # how much an answer counts whose one class is unsure
DIGITS = 12  # of a probe's fingerprint

Votes = Mapping[int, Mapping[str, Answer]]  # number of a clip to what each person said of it


@dataclass(frozen=True, eq=False)
class Labels:
    """What people said of clips, as numbers to learn from.

    clips    [labelled] their numbers in the table, rising
    targets  [labelled, classes]: the share of those asked who said that it is there; with one label a clip rows sum to 1, or
             to less where they are unsure; else NaN where nobody was asked, or sure
    """

    clips: np.ndarray
    targets: np.ndarray
    one_label: bool

    @property
    def fits(self) -> bool:
        """Whether there is something to tell apart: two classes, or one that is there and absent."""
        if self.one_label:
            return int((self.targets.sum(0) > 0).sum()) > 1
        known = ~np.isnan(self.targets)
        present, asked = np.nansum(self.targets, 0), known.sum(0)
        return bool(((present > 0) & (present < asked)).any())

    @property
    def numbers(self) -> np.ndarray:  # [labelled]
        """The likeliest class of every clip, where it has one."""
        return self.targets.argmax(1) if len(self.clips) else self.clips


def gather_labels(votes: Votes, classes: Sequence[str], *, one_label: bool) -> Labels:
    """Gather what everybody said of the clips that somebody judged; skipped ones teach nothing.

    With one label a clip, one in which nothing sounds teaches nothing either.
    """
    clips, targets = list[int](), list[np.ndarray]()
    for number in sorted(votes):
        said = [answer for answer in votes[number].values() if not answer.skipped]
        if not said:
            continue
        target = _share(said, classes) if one_label else _presence(said, classes)
        if one_label and not target.any():
            continue
        clips.append(number)
        targets.append(target)
    rows = np.array(targets) if targets else np.empty((0, len(classes)))
    return Labels(np.array(clips, dtype=np.int64), rows, one_label)


def _share(said: Sequence[Answer], classes: Sequence[str]) -> np.ndarray:  # [classes]
    counts = {PRESENT: 1.0, UNSURE: HALF_SURE}
    every = [[counts.get(answer.states.get(name, ""), 0.0) for name in classes] for answer in said]
    return np.array(every).sum(0) / len(said)


def _presence(said: Sequence[Answer], classes: Sequence[str]) -> np.ndarray:  # [classes]
    """Return the share of those who were asked for a class, and sure, that heard it; NaN where nobody was."""
    every = [[answer.states.get(name, UNSURE) for name in classes] for answer in said]
    numbers = np.array([[np.nan if state == UNSURE else float(state == PRESENT) for state in row] for row in every])
    asked = (~np.isnan(numbers)).sum(0)
    return np.where(asked > 0, np.nansum(numbers, 0) / np.maximum(asked, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Learnt:
    """A fit of all answers so far, on rows as `ClipTable.rows` has them.

    weight [classes, dim], bias [classes]  of the probe's last map
    posterior                              of that map refitted on rows of length 1; it takes in every answer at once
    clips                                  how many it was learnt from
    """

    classes: list[str]
    one_label: bool
    weight: np.ndarray
    bias: np.ndarray
    posterior: LastLayerLaplace
    clips: int

    @property
    def fingerprint(self) -> str:
        """Tell this fit from others."""
        return hashlib.sha256(self.weight.tobytes() + self.bias.tobytes()).hexdigest()[:DIGITS]

    def probabilities(self, rows: np.ndarray) -> np.ndarray:  # [clips, classes]
        """Compute what the fitted map says of clips."""
        logits = rows @ self.weight.T + self.bias
        return softmax(logits, axis=1) if self.one_label else expit(logits)


def learn(rows: np.ndarray, labels: Labels, classes: Sequence[str]) -> Learnt | None:
    """Fit a probe anew to labels; None where they leave nothing to tell apart. rows: [labelled, dim], of those clips."""
    if not labels.fits:
        return None
    features = rows.astype(np.float64)
    weight, bias = fit_with_intercept(features, labels.targets, PENALTY, several=not labels.one_label)
    if labels.one_label:
        posterior = LastLayerLaplace(features, labels.numbers, classes=len(classes))
    else:
        posterior = LastLayerLaplace(features, labels.targets, several=True)
    return Learnt([*classes], labels.one_label, weight, bias, posterior, len(labels.clips))
