"""Judge a frame-wise probe: its probabilities become events, which are matched to annotated ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.fit.judge import FeatureSource, Judgement, Prepared, judge, predict, without_nan
from oscine.probe.fit.settings import FitSettings, check_selection
from oscine.probe.heads.probe import Probe
from oscine.probe.metrics.sound_events import MEDIAN, Files, Matches, find_events, onset_matches, segment_matches, total
from oscine.probe.tasks.frame_task import HOP, FrameTask
from oscine.probe.tasks.task import Task

MEDIANS = (1, 3, 5, 7, 9, 11)  # frames
THRESHOLDS = tuple(step / 20 for step in range(1, 20))


class Decision(NamedTuple):
    """Threshold and median that make events of probabilities (`find_events`), as published for BAT (arXiv 2602.16305)."""

    threshold: float = 0.3
    median: int = MEDIAN


@dataclass(frozen=True)
class EventScores:
    """Matches of the events that a decision finds with annotated ones, in every recording and in all together."""

    decision: Decision
    onsets: list[Matches]
    segments: list[Matches]

    @property
    def onset(self) -> Matches:
        return total(self.onsets)

    @property
    def segment(self) -> Matches:
        return total(self.segments)

    def as_dict(self) -> dict[str, Any]:
        """Describe for JSON."""
        shares = ("f1", "precision", "recall")
        scores = {
            f"{kind}_{name}": getattr(getattr(self, kind), name) for kind in ("onset", "segment") for name in shares
        }
        return {**self.decision._asdict(), **without_nan(scores)}


@dataclass(frozen=True)
class FrameJudgement(Judgement):
    """The frame-wise probes of a task's parts and their scores, in the order of the parts.

    metrics     of all frames as rows; logits and valid_logits [rows, time, classes]
    published   events by the published decision, to be held beside published figures
    chosen      by the one that finds the most right onsets in validation rows; none for a part without such rows
    hop         seconds from one step of time to the next
    """

    published: list[EventScores] = field(default_factory=list)
    chosen: list[EventScores | None] = field(default_factory=list)
    hop: float = HOP

    def decision(self, part: int) -> Decision:
        """Return what a part's probe is kept with: the chosen decision, or the published one where none could be chosen."""
        return (self.chosen[part] or self.published[part]).decision

    def as_dict(self) -> dict[str, Any]:
        """Describe for JSON: every part, and the means that are published; None stands for what is not defined."""
        parts = zip(self.parts, self.metrics, self.published, self.chosen, strict=True)
        scores = {
            "frame_map": [metrics.map for metrics in self.metrics],
            "frame_micro_map": [metrics.micro_map for metrics in self.metrics],
            "onset_f1": [scores.onset.f1 for scores in self.published],
            "segment_f1": [scores.segment.f1 for scores in self.published],
        }
        return {
            "parts": {
                name: {
                    "frames": without_nan(asdict(metrics)),
                    "published": published.as_dict(),
                    "chosen": chosen and chosen.as_dict(),
                }
                for name, metrics, published, chosen in parts
            },
            "mean": without_nan({name: float(np.mean(values)) for name, values in scores.items()}),
            "std": without_nan({name: float(np.std(values)) for name, values in scores.items()}),
            "steps": dict(zip(self.parts, self.steps)),
        }


def judge_frames(
    make_probe: Callable[[], Probe],
    features: FeatureSource,
    task: FrameTask,
    settings: FitSettings,
    *,
    progress: ShowProgress = show_nothing,
    device: str | torch.device = "cpu",
    hop: float = HOP,
    preparing: ShowProgress = show_nothing,
) -> FrameJudgement:
    """Judge a frame-wise probe as `judge` does, its frames being the rows, and score the events that it finds.

    features: of whole recordings, as `task.whole` encodes them. hop: the encoder's `step_seconds`. Threshold and median
    are chosen on validation rows alone.
    """
    check_selection(settings.select_every, task.parts)
    with torch.random.fork_rng(devices=[]):
        probe = make_probe().to(device).eval()
    shape = predict(probe, Prepared(probe, features, device), task.parts[0].train[:1]).shape
    if len(shape) != 3:
        raise OscineError(f"logits of shape {tuple(shape)} for a recording; a frame-wise probe has pool 'frames'")
    framed = Task(task.rows, task.classes, task.targets(shape[1], hop), task.parts)
    judged = judge(make_probe, features, framed, settings, progress, device, preparing=preparing)
    judgement = FrameJudgement(**vars(judged), hop=hop)
    for part, logits, valid in zip(task.parts, judged.logits, judged.valid_logits, strict=True):
        truth, choosing = ([task.events[row] for row in rows.tolist()] for rows in (part.test, part.valid))
        probabilities = logits.sigmoid()
        judgement.published.append(score_events(probabilities, truth, Decision(), hop))
        decision = choose_decision(valid.sigmoid(), choosing, hop) if choosing else None
        judgement.chosen.append(decision and score_events(probabilities, truth, decision, hop))
    return judgement


def choose_decision(probabilities: Tensor, truth: Files, hop: float = HOP) -> Decision:
    """Choose the threshold and median with the best onset F1 in recordings that may be chosen by. [rows, time, classes]

    Of equally good ones the first: the lowest threshold, with the shortest median.
    """
    decisions = [Decision(threshold, median) for threshold, median in product(THRESHOLDS, MEDIANS)]

    def onset_f1(decision: Decision) -> float:
        f1 = score_events(probabilities, truth, decision, hop).onset.f1
        return 0.0 if math.isnan(f1) else f1  # nothing to find, and nothing was found

    return max(decisions, key=onset_f1)


def score_events(probabilities: Tensor, truth: Files, decision: Decision, hop: float = HOP) -> EventScores:
    """Match the events that a decision finds in recordings, [rows, time, classes], to annotated ones."""
    found = [find_events(row, hop, decision.threshold, decision.median) for row in probabilities]
    return EventScores(decision, onset_matches(truth, found), segment_matches(truth, found))
