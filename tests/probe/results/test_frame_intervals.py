"""Intervals of F1 are over recordings, and two runs are compared recording by recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from oscine.models.errors import OscineError
from oscine.probe.fit.frames import Decision, FrameJudgement, score_events
from oscine.probe.metrics.bootstrap import Resampling, confidence_interval, ratio
from oscine.probe.metrics.sound_events import total
from oscine.probe.results.intervals import (
    assess_frames,
    compare_recordings,
    event_scores,
    judged_recordings,
)
from oscine.probe.results.run_files import SCORES
from oscine.probe.results.runs import RECORDINGS, judged_events
from oscine.probe.tasks.frame_task import HOP, Event, FrameTask
from oscine.probe.tasks.task import Part

ROWS, STEPS = 40, 50


@pytest.fixture(scope="module")
def task() -> FrameTask:
    """Two folds, an event in every second of most recordings."""
    draw = torch.Generator().manual_seed(0)
    events = [
        [Event(at * HOP, (at + 2) * HOP, 0) for at in range(2, STEPS, 7) if torch.rand(1, generator=draw) < 0.7]
        for _ in range(ROWS)
    ]
    rows = pd.DataFrame({"path": [f"{row}.wav" for row in range(ROWS)], "site": [row // 2 for row in range(ROWS)]})
    parts = [Part(f"fold {fold}", torch.arange(0), torch.arange(fold * 20, fold * 20 + 20)) for fold in range(2)]
    return FrameTask(rows, ["cough"], events, parts)


def judged(task: FrameTask, missing: float, chosen: bool = True, seed: int = 1) -> FrameJudgement:
    """Probabilities that miss a share of the events' steps, and hear as many where there is nothing."""
    draw = torch.Generator().manual_seed(seed)
    targets = task.targets(STEPS)
    said = torch.where(torch.rand(targets.shape, generator=draw) < missing, 1 - targets, targets) * 0.8 + 0.1
    judgement = FrameJudgement([part.name for part in task.parts], [])
    for part in task.parts:
        truth = [task.events[row] for row in part.test.tolist()]
        judgement.published.append(score_events(said[part.test], truth, Decision()))
        judgement.chosen.append(score_events(said[part.test], truth, Decision(0.5, 1)) if chosen else None)
    return judgement


def test_an_interval_is_of_the_very_score_and_over_groups_of_recordings(task: FrameTask) -> None:
    judgement = judged(task, 0.1)
    recordings = judged_recordings(judgement, task)
    found = assess_frames(recordings, Resampling(300, seed=2))
    assert found.groups == 20
    for name, judged_by in (("", judgement.published), ("chosen_", judgement.chosen)):
        for kind in ("onset", "segment"):
            value, low, high = found.intervals[f"{name}{kind}_f1"]
            assert value == pytest.approx(sum(getattr(one, kind).f1 for one in judged_by if one) / 2)
            assert 0 < low < value < high < 1
    assert not found.omitted
    first = recordings[recordings["part"] == "fold 0"]
    matches = judgement.published[0].onsets
    score = ratio(
        torch.tensor([2 * one.matched for one in matches]), torch.tensor([one.annotated + one.found for one in matches])
    )
    assert assess_frames(first, Resampling(300)).intervals["onset_f1"] == confidence_interval(
        score, [row // 2 for row in range(20)], Resampling(300)
    )


def test_a_draw_scores_what_its_recordings_score_together(task: FrameTask) -> None:
    judgement = judged(task, 0.1)
    only = replace(task, parts=task.parts[:1])
    alone = FrameJudgement(["fold 0"], [], published=judgement.published[:1], chosen=[None])
    recordings = judged_recordings(alone, only)
    counts = torch.zeros(1, 20, dtype=torch.float64)
    counts[0, [3, 5, 8]] = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    for name, matches in (("onset_f1", alone.published[0].onsets), ("segment_f1", alone.published[0].segments)):
        expected = total([matches[row] for row in (3, 3, 5, 8)]).f1
        assert event_scores(recordings)[name](counts).item() == pytest.approx(expected)


def test_without_validation_rows_only_the_published_decision_has_intervals(task: FrameTask) -> None:
    recordings = judged_recordings(judged(task, 0.1, chosen=False), task)
    assert list(assess_frames(recordings, Resampling(20)).intervals) == ["onset_f1", "segment_f1"]


def test_recordings_of_one_group_have_no_interval_and_the_reason_is_given(task: FrameTask) -> None:
    alike = replace(task, rows=task.rows.assign(site="here"))
    found = assess_frames(judged_recordings(judged(task, 0.1), alike))
    assert not found.intervals
    assert found.omitted["intervals"] == "1 group of recordings is too few for an interval, which takes 3 at least"


def written(recordings: pd.DataFrame, run: Path) -> Path:
    (run / SCORES).write_text(json.dumps({RECORDINGS: recordings.to_dict("records")}, allow_nan=False))
    return run


def test_runs_are_compared_recording_by_recording_whatever_their_order(task: FrameTask, tmp_path: Path) -> None:
    good, poor = (judged_recordings(judged(task, missing), task) for missing in (0.05, 0.3))
    shuffled = poor.sample(frac=1, random_state=0)
    one, other = (pd.DataFrame(judged_events(written(run, tmp_path))) for run in (good, shuffled))
    pd.testing.assert_frame_equal(
        one.map(str), good.map(lambda value: str(list(value) if isinstance(value, tuple) else value))
    )
    found = compare_recordings(one, other, Resampling(200))
    for name in ("onset_f1", "chosen_segment_f1"):
        values = [assess_frames(run, Resampling(2)).intervals[name].value for run in (good, poor)]
        assert found[name].difference.value == pytest.approx(values[0] - values[1])
        assert found[name].difference.low > 0
        assert found[name].ahead == 1
    for same in compare_recordings(one, one, Resampling(50)).values():
        assert same == ((0, 0, 0), 0.5)


def test_scores_that_both_runs_have_are_compared(task: FrameTask) -> None:
    one, other = (judged_recordings(judged(task, 0.1, chosen), task) for chosen in (True, False))
    assert (
        list(compare_recordings(one, other, Resampling(20)))
        == list(compare_recordings(other, one, Resampling(20)))
        == ["onset_f1", "segment_f1"]
    )


def test_other_recordings_and_other_events_are_not_compared(task: FrameTask) -> None:
    recordings = judged_recordings(judged(task, 0.1), task)
    with pytest.raises(
        OscineError, match="judged on 40 and 39 recordings, of which they share 39; compare runs of one"
    ):
        compare_recordings(recordings, recordings.iloc[1:])
    silent = replace(task, events=[[], *task.events[1:]])
    with pytest.raises(OscineError, match="judged by other events in the same recordings; compare runs of one task"):
        compare_recordings(recordings, judged_recordings(judged(silent, 0.1), silent))


def test_a_run_that_judged_clips_has_no_recordings(tmp_path: Path) -> None:
    (tmp_path / SCORES).write_text("{}")
    assert judged_events(tmp_path) == []
    assert judged_events(tmp_path / "nowhere") == []
