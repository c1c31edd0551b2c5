"""Report how each annotator did, and find the clips that should have a second opinion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import entr

from oscine.probe.label.votes.shares import NOBODY, one_hot
from oscine.probe.label.votes.votes import Votes

SHOWN = 3  # mistakes of an annotator


class Mistake(NamedTuple):
    """What an annotator said for what, and how often; "" is nothing."""

    true: str
    said: str
    clips: float


class AnnotatorReport(NamedTuple):
    """How one annotator did.

    votes        clips of which they said something
    compared     of these, those of which others did, too
    agreement    share of these in which they said what most others did; a tie counts in parts
    sensitivity  how often they name what sounds, by the consensus; specificity: how often they do not name what does not.
                 Where a clip has one class, means over the classes
    seconds      median that an answer took
    consistency  share of the clips that came to them again of which they said the same
    mistakes     the most frequent ones
    """

    name: str
    votes: int
    compared: int
    agreement: float | None
    sensitivity: float | None
    specificity: float | None
    seconds: float | None
    consistency: float | None
    mistakes: list[Mistake]


def report_annotators(votes: Votes, posterior: np.ndarray) -> list[AnnotatorReport]:
    """Report every annotator.

    posterior [clips, classes]: what the votes came to, as labels or as probabilities.
    """
    said, asked = _by_class(votes)
    return [_report(votes, posterior, number, said=said, asked=asked) for number in range(len(votes.annotators))]


def second_opinions(posterior: np.ndarray, heard: np.ndarray, *, several: bool = False) -> list[tuple[int, list[int]]]:
    """List clips to ask about, the most unsure first, and whom.

    Those are the annotators who have not heard the clip. posterior [clips, classes]; heard [clips, annotators]. Clips
    that everybody has heard are left out.
    """
    unsure = entr(posterior).sum(1) + (entr(1 - posterior).sum(1) if several else 0.0)
    order = np.argsort(-unsure, kind="stable")
    return [(int(clip), np.flatnonzero(~heard[clip]).tolist()) for clip in order if not heard[clip].all()]


def _by_class(votes: Votes) -> tuple[np.ndarray, np.ndarray]:
    """Return what was said and what was asked, [clips, annotators, classes]."""
    if votes.several:
        return (votes.said == 1).astype(float), votes.said != NOBODY
    return one_hot(votes.said, len(votes.classes)), np.repeat(votes.heard[:, :, None], len(votes.classes), axis=2)


def _report(
    votes: Votes, posterior: np.ndarray, number: int, *, said: np.ndarray, asked: np.ndarray
) -> AnnotatorReport:
    own, named = asked[:, number], said[:, number]
    true = posterior * own
    agreement, compared = _agreement(said, asked, number, several=votes.several)
    seconds = votes.seconds[:, number]
    again, same = votes.repeats.get(votes.annotators[number], (0, 0))
    return AnnotatorReport(
        name=votes.annotators[number],
        votes=int(votes.heard[:, number].sum()),
        compared=compared,
        agreement=agreement,
        sensitivity=_rate(named, true, pooled=votes.several),
        specificity=_rate(1 - named, own - true, pooled=votes.several),
        seconds=float(np.nanmedian(seconds)) if np.isfinite(seconds).any() else None,
        consistency=same / again if again else None,
        mistakes=_mistakes(votes, true=true, own=own, named=named),
    )


def _rate(said: np.ndarray, weight: np.ndarray, *, pooled: bool) -> float | None:
    """Compute how much of a weight falls on what was said.

    pooled: over all classes at once; else the mean of those that have some.
    """
    found, total = (said * weight).sum(0), weight.sum(0)
    if pooled:
        found, total = found.sum(keepdims=True), total.sum(keepdims=True)
    there = total > 0
    return float((found[there] / total[there]).mean()) if there.any() else None


def _agreement(said: np.ndarray, asked: np.ndarray, number: int, *, several: bool) -> tuple[float | None, int]:
    """Compare an annotator with what most others said; ties count in parts."""
    others, named = np.delete(said, number, axis=1).sum(1), said[:, number]  # [clips, classes]
    voters = np.delete(asked, number, axis=1).sum(1)
    both = asked[:, number] & (voters > 0)
    if not both.any():
        return None, 0
    if several:
        majority = 0.5 + np.sign(others - voters / 2) / 2  # 1, 0, or 1/2 where they are tied
        same = np.where(named > 0, majority, 1 - majority)[both]
    else:
        most = (others == others.max(1, keepdims=True)) & both
        same = ((most / np.maximum(most.sum(1, keepdims=True), 1)) * named).sum(1)[both.any(1)]
    return float(same.mean()), int(both.any(1).sum())


def _mistakes(votes: Votes, *, true: np.ndarray, own: np.ndarray, named: np.ndarray) -> list[Mistake]:
    """Find the most frequent mistakes; of several labels, missed or imagined ones."""
    classes = votes.classes
    if votes.several:
        missed, imagined = (true * (1 - named)).sum(0), ((own - true) * named).sum(0)
        found = [Mistake(name, "", clips) for name, clips in zip(classes, missed.tolist(), strict=True)]
        found += [Mistake("", name, clips) for name, clips in zip(classes, imagined.tolist(), strict=True)]
    else:
        counts = true.T @ named  # [true, said]
        found = [
            Mistake(classes[one], classes[other], float(counts[one, other]))
            for one, other in np.ndindex(counts.shape)
            if one != other
        ]
    return sorted((one for one in found if one.clips >= 0.5), key=lambda one: -one.clips)[:SHOWN]
