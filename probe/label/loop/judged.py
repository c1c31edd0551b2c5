"""Judge by audit clips alone: how right the probe was before it learnt them, and how frequent each class is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.probe.label.journal import PRESENT, UNSURE, Answer
from oscine.probe.metrics.bootstrap import Interval, confidence_interval, mean_average_precision
from oscine.probe.metrics.calibration import calibration

FEW = 20  # clips below which nothing is said of calibration
NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Judged:
    """What audit clips say.

    clips       how many there are; skipped: of them, those that could not be judged
    metric      accuracy of the likeliest class, or macro AP; score: of the probe before it learnt these clips
    chance      what the score is without hearing anything: of the most frequent class, or the mean share of the classes
    scored      clips that the score is of: those that came when there was a probe, and of whose classes nobody was unsure
    prevalence  share of the clips in which each class sounds
    off         how far probabilities are from shares, on average; NaN below FEW clips
    """

    clips: int
    skipped: int
    metric: str
    score: Interval
    chance: float
    scored: int
    prevalence: dict[str, Interval]
    off: float


def judge_audit(answers: Sequence[Answer], classes: Sequence[str], *, one_label: bool) -> Judged:
    """Judge by the answers to audit clips, one a clip."""
    heard = [answer for answer in answers if not answer.skipped]
    usable = [answer for answer in heard if answer.predicted and not answer.named(UNSURE)]
    if one_label:
        usable = [answer for answer in usable if answer.named(PRESENT)]
    known = [name for name in classes if all(name in one.predicted and name in one.states for one in usable)]
    metric = "accuracy" if one_label else "macro AP"
    score, chance, off = NOTHING, math.nan, math.nan
    if usable and known:
        p = torch.tensor([[answer.predicted[name] for name in known] for answer in usable], dtype=torch.float64)
        true = torch.tensor([[answer.states[name] == PRESENT for name in known] for answer in usable]).long()
        shares = true.double().mean(0)
        chance = float(shares.max() if one_label else shares[shares > 0].mean())
        hits = int(true.gather(1, p.argmax(1, keepdim=True)).sum())
        score = wilson(hits, len(usable)) if one_label else _macro_ap(p, true, [one.clip.recording for one in usable])
        off = calibration(p, true).pooled.error if len(usable) >= FEW else math.nan
    prevalence = {name: _prevalence(heard, name) for name in classes}
    return Judged(len(answers), len(answers) - len(heard), metric, score, chance, len(usable), prevalence, off)


def wilson(hits: int, total: int) -> Interval:
    """Return a share with Wilson's 95 % interval."""
    if not total:
        return NOTHING
    low, high = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return Interval(hits / total, float(low), float(high))


def _macro_ap(p: Tensor, true: Tensor, recordings: Sequence[str]) -> Interval:
    """Return macro AP over the classes that occur, with its interval over recordings, where there is one."""
    if not true.any():
        return NOTHING
    score = mean_average_precision(p, true)
    try:
        return confidence_interval(score, recordings)
    except OscineError:  # of one recording
        return Interval(score(torch.ones(1, len(p), dtype=torch.float64)).item(), math.nan, math.nan)


def _prevalence(heard: Sequence[Answer], name: str) -> Interval:
    sure = [answer.states[name] for answer in heard if answer.states.get(name, UNSURE) != UNSURE]
    return wilson(sum(state == PRESENT for state in sure), len(sure))
