"""Planted events are found again, and what turns frames into events is chosen by validation rows alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.probe.fit.frames import Decision, choose_decision, judge_frames, score_events
from oscine.probe.fit.judge import fit_probe, predict, prepare, score
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.metrics.sound_events import find_events
from oscine.probe.tasks.frame_task import HOP, Event, FrameTask
from oscine.probe.tasks.task import Part

ROWS, STEPS, DIM = 18, 40, 24
BRIEF = FitSettings(steps=150, warmup=5, batch_size=4, lr=3e-2, weight_decay=0.0)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return BAT(dim=DIM, depth=2, heads=2, seconds=1.0)


@pytest.fixture(scope="module")
def task() -> FrameTask:
    """Two classes, with an event or two in every scene but the last of each split, which is quiet."""
    rng = np.random.default_rng(0)
    events: list[list[Event]] = []
    for row in range(ROWS):
        begins = rng.choice(np.arange(1, STEPS - 8, 10), size=2, replace=False) if row % 6 < 5 else []
        events.append([Event(begin * HOP, (begin + 4) * HOP, int(rng.integers(2))) for begin in begins])
    rows = pd.DataFrame({"path": [f"{row}.wav" for row in range(ROWS)]})
    part = Part("test", torch.arange(6), torch.arange(12, ROWS), torch.arange(6, 12))
    return FrameTask(rows, ["cough", "drawer"], events, [part])


@pytest.fixture(scope="module")
def features(task: FrameTask) -> Features:
    """Noise, in which a class's own direction stands out while it sounds, in all layers."""
    draw = torch.Generator().manual_seed(0)
    planted = torch.randn(2, DIM, generator=draw)
    patches = torch.randn(2, ROWS, STEPS, 8, DIM, generator=draw)
    sounding = task.targets(STEPS)  # [rows, time, classes]
    patches += torch.einsum("rtc,cd->rtd", sounding, planted)[None, :, :, None]
    return Features(torch.randn(2, ROWS, DIM), patches, torch.zeros(ROWS, DIM))


def linear(encoder: Encoder) -> Probe:
    return LinearProbe(encoder, 2, pool="frames", norm="none")


def gated(encoder: Encoder) -> Probe:
    return ConvexGatedProbe(encoder, 2, pool="frames", prototypes=32)


@pytest.mark.parametrize("make", [linear, gated])
def test_planted_events_are_found_again(make: object, encoder: Encoder, task: FrameTask, features: Features) -> None:
    judgement = judge_frames(lambda: make(encoder), features, task, BRIEF)  # type: ignore[operator]
    assert judgement.logits[0].shape == (6, STEPS, 2)
    assert judgement.metrics[0].rows == 6 * STEPS
    assert judgement.metrics[0].map > 0.9
    (chosen,) = judgement.chosen
    assert chosen is not None
    assert chosen.onset.annotated == sum(len(task.events[row]) for row in range(12, ROWS))
    assert chosen.onset.f1 > 0.8
    assert chosen.segment.f1 > 0.8
    assert judgement.published[0].decision == (0.3, 3)


def test_only_rows_of_the_parts_are_taken(encoder: Encoder, task: FrameTask, features: Features) -> None:
    class Counted(NamedTuple):
        taken: list[int]

        def take(self, rows: Tensor, /) -> Features:
            self.taken.extend(rows.tolist())
            return features.take(rows)

    (part,), counted = task.parts, Counted([])
    without = replace(task, parts=[part._replace(train=part.train[1:])])
    judgement = judge_frames(lambda: linear(encoder), counted, without, BRIEF)
    assert set(counted.taken) == set(range(1, ROWS))
    assert torch.equal(judgement.logits[0], judge_frames(lambda: linear(encoder), features, without, BRIEF).logits[0])


def test_judged_rows_choose_nothing(encoder: Encoder, task: FrameTask, features: Features) -> None:
    whole = judge_frames(lambda: linear(encoder), features, task, BRIEF)
    silent = replace(task, events=[*task.events[:12], *([[Event(0.0, 0.16, 0)]] * 6)])
    other = judge_frames(lambda: linear(encoder), features, silent, BRIEF)
    assert whole.chosen[0] is not None
    assert other.chosen[0] is not None
    assert whole.chosen[0].decision == other.chosen[0].decision
    assert torch.equal(whole.logits[0], other.logits[0])
    assert whole.chosen[0].onset != other.chosen[0].onset


def test_without_validation_rows_only_the_published_decision_is_left(
    encoder: Encoder, task: FrameTask, features: Features
) -> None:
    (part,) = task.parts
    bare = replace(task, parts=[part._replace(valid=torch.empty(0, dtype=torch.long))])
    judgement = judge_frames(lambda: linear(encoder), features, bare, BRIEF)
    assert judgement.chosen == [None]
    written = json.loads(json.dumps(judgement.as_dict(), allow_nan=False))
    assert written["parts"]["test"]["chosen"] is None
    assert written["mean"]["onset_f1"] == judgement.published[0].onset.f1
    assert written["mean"]["frame_map"] == judgement.metrics[0].map


def test_the_best_threshold_and_median_are_chosen() -> None:
    events = [[Event(2 * HOP, 6 * HOP, 0), Event(12 * HOP, 18 * HOP, 0)]]
    probabilities: Tensor = torch.full((1, 24, 1), 0.52)
    probabilities[0, 2:7], probabilities[0, 12:19] = 0.7, 0.7
    probabilities[0, 9] = 0.9  # a spike that a median takes away
    decision = choose_decision(probabilities, events)
    assert 0.52 < decision.threshold <= 0.7
    assert decision.median == 3
    assert score_events(probabilities, events, decision).onset == (2, 2, 2)
    assert score_events(probabilities, events, Decision()).onset == (0, 2, 1)


def test_scores_are_of_all_recordings_together() -> None:
    events = [[Event(0.0, 3 * HOP, 0)], [Event(5 * HOP, 9 * HOP, 1)]]
    probabilities = torch.zeros(2, 12, 2)
    probabilities[0, :4, 0] = 1.0
    found = score_events(probabilities, events, Decision(0.5, 1))
    assert find_events(probabilities[0], HOP, 0.5, 1) == events[0]
    assert (found.onset, found.onset.recall) == ((1, 2, 1), 0.5)
    assert score_events(torch.zeros(1, 12, 2), [[]], Decision()).as_dict()["onset_f1"] is None


def test_a_probe_of_whole_clips_gets_a_clear_line(encoder: Encoder, task: FrameTask, features: Features) -> None:
    with pytest.raises(OscineError, match=r"logits of shape \(1, 2\) for a recording; a frame-wise probe has pool"):
        judge_frames(lambda: LinearProbe(encoder, 2, pool="mean"), features, task, BRIEF)


def test_the_best_step_is_chosen_by_the_validation_scenes(
    encoder: Encoder, task: FrameTask, features: Features
) -> None:
    settings, (part,) = replace(BRIEF, steps=30, lr=0.3, select_every=1), task.parts
    judgement = judge_frames(lambda: linear(encoder), features, task, settings)
    values, targets = [], task.targets(STEPS)
    for steps in range(1, settings.steps + 1):
        torch.manual_seed(settings.seed)
        probe = linear(encoder)
        prepared = prepare(probe, features)
        fit_probe(probe, prepared, targets, part.train, settings, steps=steps)
        values.append(score(predict(probe, prepared, part.valid, settings.batch_size), targets[part.valid]).micro_map)
    assert judgement.as_dict()["steps"] == {"test": 1 + values.index(max(values))}
    assert judgement.steps[0] < settings.steps, "a choice was made"
