"""Judging by the moment: a frame-wise probe's probabilities become events, which are held against annotated ones."""

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
from oscine.probe.fit.judge import (
    FeatureSource,
    FitSettings,
    Progress,
    fit_probe,
    predict,
    prepare,
    score,
    silent,
    within,
    without_nan,
)
from oscine.probe.fit.settings import check_selection
from oscine.probe.heads.probe import Probe
from oscine.probe.metrics.metrics import Metrics
from oscine.probe.metrics.sound_events import MEDIAN, Files, Matches, find_events, onset_matches, segment_matches, total
from oscine.probe.tasks.frame_task import HOP, FrameTask

MEDIANS = (1, 3, 5, 7, 9, 11)  # frames
THRESHOLDS = tuple(step / 20 for step in range(1, 20))


class Decision(NamedTuple):
    """How probabilities become events, see `find_events`. As published of BAT's probes (arXiv 2602.16305)."""

    threshold: float = 0.3
    median: int = MEDIAN


@dataclass(frozen=True)
class EventScores:
    """How well the events that a decision finds match annotated ones: in every recording, and in all of them together."""

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
        """For JSON."""
        shares = ("f1", "precision", "recall")
        scores = {
            f"{kind}_{name}": getattr(getattr(self, kind), name) for kind in ("onset", "segment") for name in shares
        }
        return {**self.decision._asdict(), **without_nan(scores)}


@dataclass(frozen=True)
class FrameJudgement:
    """What a frame-wise probe makes of an encoder, part by part in the task's order.

    frames      metrics of all frames as rows
    published   events by the published decision, to be held beside published figures
    chosen      by the one that finds the most right onsets in validation rows; none for a part without such rows
    logits      of the rows that a part is judged on, [rows, time, classes]
    valid_logits  of those that it may choose by
    hop         seconds from one step of time to the next
    steps       that each probe has learnt from: all, or those up to the best
    """

    parts: list[str]
    frames: list[Metrics] = field(default_factory=list)
    published: list[EventScores] = field(default_factory=list)
    chosen: list[EventScores | None] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    valid_logits: list[Tensor] = field(default_factory=list)
    hop: float = HOP
    steps: list[int] = field(default_factory=list)

    def decision(self, part: int) -> Decision:
        """That a part's probe is kept with: the chosen one, or the published one where there were no rows to choose by."""
        return (self.chosen[part] or self.published[part]).decision

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every part, and the means that are published; None stands for what is not defined."""
        parts = zip(self.parts, self.frames, self.published, self.chosen, strict=True)
        scores = {
            "frame_map": [metrics.map for metrics in self.frames],
            "frame_micro_map": [metrics.micro_map for metrics in self.frames],
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
    progress: Progress = silent,
    device: str | torch.device = "cpu",
    hop: float = HOP,
    preparing: Progress = silent,
) -> FrameJudgement:
    """Fit a fresh frame-wise probe on every part of the task and score what it finds in the part's own test rows.

    features: of whole recordings, as `task.whole` encodes them. hop: the frontend's `patch_seconds`. Threshold and median
    are chosen on validation rows alone.
    """
    check_selection(settings.select_every, task.parts)
    judgement = FrameJudgement([part.name for part in task.parts], hop=hop)
    used = torch.cat([part.all_rows for part in task.parts])
    with torch.random.fork_rng(devices=[]):
        prepared = prepare(make_probe(), features, device, used, preparing)
    for number, part in enumerate(task.parts):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            probe = make_probe().to(device)
            targets = task.targets(_steps(probe, prepared, part.train[:1]), hop)
            shown = within(progress, number, len(task.parts))
            judgement.steps.append(
                fit_probe(probe, prepared, targets, part.train, settings, part.valid, progress=shown)
            )
        logits = predict(probe, prepared, part.test, settings.batch_size)
        valid = predict(probe, prepared, part.valid, settings.batch_size)
        truth = [task.events[row] for row in part.test.tolist()]
        judgement.probes.append(probe)
        judgement.logits.append(logits)
        judgement.valid_logits.append(valid)
        judgement.frames.append(score(logits, targets[part.test]))
        judgement.published.append(score_events(logits.sigmoid(), truth, Decision(), hop))
        if len(part.valid):
            decision = choose_decision(valid.sigmoid(), [task.events[row] for row in part.valid.tolist()], hop)
            judgement.chosen.append(score_events(logits.sigmoid(), truth, decision, hop))
        else:
            judgement.chosen.append(None)
    return judgement


def choose_decision(probabilities: Tensor, truth: Files, hop: float = HOP) -> Decision:
    """The threshold and median with the best onset F1 in recordings that may be chosen by. [rows, time, classes]

    Of equally good ones the first: the lowest threshold, with the shortest median.
    """
    decisions = [Decision(threshold, median) for threshold, median in product(THRESHOLDS, MEDIANS)]
    return max(decisions, key=lambda decision: _f1(score_events(probabilities, truth, decision, hop).onset))


def score_events(probabilities: Tensor, truth: Files, decision: Decision, hop: float = HOP) -> EventScores:
    """The events that a decision finds in recordings, [rows, time, classes], against annotated ones."""
    found = [find_events(row, hop, decision.threshold, decision.median) for row in probabilities]
    return EventScores(decision, onset_matches(truth, found), segment_matches(truth, found))


def _f1(matches: Matches) -> float:
    """0 where there is nothing to find and nothing was found."""
    return 0.0 if math.isnan(matches.f1) else matches.f1


def _steps(probe: Probe, prepared: FeatureSource, recording: Tensor) -> int:
    """Of time, in the logits of a recording, [1] its row."""
    logits = predict(probe.eval(), prepared, recording)
    if logits.ndim != 3:
        raise OscineError(
            f"logits of shape {tuple(logits.shape)} for a recording; a frame-wise probe has pool 'frames'"
        )
    return logits.shape[1]
