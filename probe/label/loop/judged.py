"""Judge by audit clips alone: how right the probe was before it learnt them, and how frequent each class is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.stats import binomtest

from oscine.models.errors import OscineError
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, Answer
from oscine.probe.metrics.bootstrap import Interval, Score, confidence_interval, mean_average_precision, over_parts
from oscine.probe.metrics.calibration import calibration

FEW = 20  # clips below which nothing is said of calibration
NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Judged:
    """What audit clips say.

    clips       how many there are; skipped: of them, those that could not be judged
    metric      accuracy of the likeliest class, or macro AP
    scored      what the probe of that time, which had not learnt the clip, said of those that came when there was one
    prevalence  share of the clips in which each class sounds
    """

    clips: int
    skipped: int
    metric: str
    scored: Scored
    prevalence: dict[str, Interval]


class Scored(NamedTuple):
    """How right a probe was.

    clips     that the score is of; unclear: clips of which somebody was unsure of a class, or was not asked for it. With one
              class a clip they do not count, else they count for the other classes
    score     with its interval; chance: what it is without hearing anything: of the most frequent class, or the mean share
    off       how far probabilities are from shares, on average; NaN below FEW clips
    """

    clips: int = 0
    unclear: int = 0
    score: Interval = NOTHING
    chance: float = math.nan
    off: float = math.nan


def judge_audit(answers: Sequence[Answer], classes: Sequence[str], *, one_label: bool) -> Judged:
    """Judge by the answers to audit clips, one a clip."""
    heard = [answer for answer in answers if not answer.skipped]
    asked = [answer for answer in heard if answer.predicted]
    scored = _score_one_label(asked, classes) if one_label else _score_several(asked, classes)
    prevalence = {name: _prevalence(heard, name) for name in classes}
    metric = "accuracy" if one_label else "macro AP"
    return Judged(len(answers), len(answers) - len(heard), metric, scored, prevalence)


def _score_one_label(asked: Sequence[Answer], classes: Sequence[str]) -> Scored:
    """Score the likeliest class of the clips that have one for certain; one that was added later is missed before."""
    sure = [answer for answer in asked if answer.named(PRESENT) and not answer.named(UNSURE)]
    unclear = len(asked) - len(sure)
    if not sure:
        return Scored(unclear=unclear)
    p = torch.tensor([[answer.predicted.get(name, 0.0) for name in classes] for answer in sure], dtype=torch.float64)
    true = torch.tensor([[answer.states.get(name) == PRESENT for name in classes] for answer in sure]).long()
    hits = int(true.gather(1, p.argmax(1, keepdim=True)).sum())
    off = calibration(p, true).pooled.error if len(sure) >= FEW else math.nan
    return Scored(len(sure), unclear, wilson(hits, len(sure)), float(true.double().mean(0).max()), off)


def _score_several(asked: Sequence[Answer], classes: Sequence[str]) -> Scored:
    """Score every class by the clips of which it is known, and was predicted."""
    if not asked:
        return Scored()
    number = {PRESENT: 1.0, ABSENT: 0.0}
    p = torch.tensor([[one.predicted.get(name, math.nan) for name in classes] for one in asked], dtype=torch.float64)
    true = torch.tensor([[number.get(one.states.get(name, UNSURE), math.nan) for name in classes] for one in asked])
    known = ~(p.isnan() | true.isnan())  # [clips, classes]
    clips, unclear = int(known.any(1).sum()), int((~known).any(1).sum())
    present = [place for place in range(len(classes)) if true[known[:, place], place].any()]
    if not present:
        return Scored(clips, unclear)
    rows = [known[:, place].nonzero()[:, 0] for place in present]
    of_class = [(p[own, place, None], true[own, place, None].long()) for own, place in zip(rows, present, strict=True)]
    score = over_parts([mean_average_precision(said, right) for said, right in of_class], rows)
    chance = float(torch.stack([right.double().mean() for _, right in of_class]).mean())
    off = calibration(p[known][:, None], true[known][:, None].long()).pooled.error if clips >= FEW else math.nan
    return Scored(clips, unclear, _with_interval(score, [one.clip.recording for one in asked]), chance, off)


def wilson(hits: int, total: int) -> Interval:
    """Return a share with Wilson's 95 % interval."""
    if not total:
        return NOTHING
    low, high = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return Interval(hits / total, float(low), float(high))


def _with_interval(score: Score, recordings: Sequence[str]) -> Interval:
    """Return a score with its interval over recordings, where there is one."""
    try:
        return confidence_interval(score, recordings)
    except OscineError:  # of one recording
        return Interval(score(torch.ones(1, len(recordings), dtype=torch.float64)).item(), math.nan, math.nan)


def _prevalence(heard: Sequence[Answer], name: str) -> Interval:
    sure = [answer.states[name] for answer in heard if answer.states.get(name, UNSURE) != UNSURE]
    return wilson(sum(state == PRESENT for state in sure), len(sure))
