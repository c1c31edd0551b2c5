"""Say after every batch whether more labels change much; whether to stop is for the person to decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.metrics import cohen_kappa_score

from oscine.models.text.words import counted
from oscine.probe.label.journal import Answer
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.judged import judge_audit
from oscine.probe.label.loop.learner import Labels, Learnt
from oscine.probe.label.loop.settings import LoopSettings

DRAWN = 2_000  # clips by whose predictions successive probes are compared
STABLE = 0.99  # mean kappa of the last three batches
ROW = 3  # batches in a row for which all must hold
WANTED = 5  # positives of every class
BACK = 5  # batches over which the score must have stopped to rise
SEEK = "seek_rare"  # the strategy that looks for classes with few positives


@dataclass
class Progress:
    """What every batch came to, since the page was started.

    kappas      agreement of each probe with the one before
    scores      of the audit clips, with half the width of their interval
    positives   of every class by then, by its name
    """

    table: ClipTable
    settings: LoopSettings
    kappas: list[float] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)
    positives: list[dict[str, float]] = field(default_factory=list)
    held: int = 0  # batches in a row for which everything has held
    lines: list[str] = field(default_factory=list)
    before: np.ndarray | None = None  # what the last probe predicted of the drawn clips

    def __post_init__(self) -> None:
        count = len(self.table.clips)
        generator = np.random.default_rng(self.settings.seed)
        self.drawn = generator.permutation(count)[:DRAWN] if count > DRAWN else np.arange(count)

    def add(self, learnt: Learnt | None, labels: Labels, audit: Sequence[Answer]) -> None:
        """Take in a batch: the probe that was fitted, the labels so far, and the answers to audit clips."""
        if learnt is None:
            return
        predicted = self._predict(learnt)
        if self.before is not None and self.before.shape == predicted.shape:
            self.kappas.append(agreement(self.before, predicted))
        self.before = predicted
        score = judge_audit(audit, learnt.classes, one_label=learnt.one_label).scored.score
        self.scores.append((score.value, (score.high - score.low) / 2))
        self.positives.append(dict(zip(learnt.classes, np.nansum(labels.targets, axis=0).tolist())))
        signs = [self._stable(), self._flat(), self._nothing_new()]
        self.held = self.held + 1 if all(holds for holds, _ in signs) else 0
        self.lines = [line for _, line in signs]
        if self.held >= ROW:
            self.lines.insert(0, "More labels change little now: all three hold for three batches in a row.")

    def _predict(self, learnt: Learnt) -> np.ndarray:  # [drawn], or [drawn, classes]
        p = learnt.probabilities(self.table.rows[self.drawn])
        return p.argmax(1) if learnt.one_label else p >= 0.5

    def _stable(self) -> tuple[bool, str]:
        if len(self.kappas) < ROW:
            return False, "Predictions are compared after more batches."
        mean = float(np.mean(self.kappas[-ROW:]))
        holds = mean >= STABLE
        return (
            holds,
            f"Predictions {'stay' if holds else 'still change'}: kappa of the last probes is {mean:.3f}, of 1.",
        )

    def _flat(self) -> tuple[bool, str]:
        now, half = self.scores[-1]
        if math.isnan(half) or len(self.scores) <= BACK:
            return False, "Too few clips to judge by yet."
        rise = now - self.scores[-1 - BACK][0]
        holds = not rise > half
        said = f"rose by {rise:+.3f} over five batches, its interval is {half:.3f} wide to each side"
        return holds, f"The score by audit clips {'rises no more' if holds else 'still rises'}: it {said}."

    def _nothing_new(self) -> tuple[bool, str]:
        now = self.positives[-1]
        long = len(self.positives) > ROW
        before = self.positives[-1 - ROW] if long else {}
        if long and any(count and not before.get(name) for name, count in now.items()):
            return False, "New classes came up in the last three batches."
        rare = [name for name, count in now.items() if count < WANTED]
        sought = self.settings.strategy == SEEK and long
        in_vain = [name for name in rare if sought and now[name] <= before.get(name, 0)]
        if left := [name for name in rare if name not in in_vain]:
            named = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
            looks = "" if self.settings.strategy == SEEK else f"; --strategy {SEEK} looks for them"
            return (
                False,
                f"{counted(len(left), 'class has', 'classes have')} fewer than {WANTED} positives: {named}{looks}.",
            )
        said = f" but {', '.join(in_vain)}, looked for in vain in the last three batches" if in_vain else ""
        return long, f"Every class has {WANTED} positives or more{said}."


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return Cohen's kappa of two predictions [clips], or the mean over classes that either predicts [clips, classes]."""
    if one.ndim == 1:
        return _kappa(one, other)
    predicted = one.any(0) | other.any(0)
    if not predicted.any():
        return 1.0
    return float(np.mean([_kappa(one[:, place], other[:, place]) for place in np.flatnonzero(predicted)]))


def _kappa(one: np.ndarray, other: np.ndarray) -> float:
    return 1.0 if (one == other).all() else float(cohen_kappa_score(one, other))
