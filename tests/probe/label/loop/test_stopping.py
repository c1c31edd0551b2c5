"""Whether more labels change much is said from three signs, and prevalence and scores with their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, Answer
from oscine.probe.label.loop.judged import judge_audit, wilson
from oscine.probe.label.loop.learner import Labels, learn
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.loop.stopping import BACK, ROW, Progress, agreement
from oscine.probe.metrics.bootstrap import confidence_interval, mean_average_precision
from tests.probe.label.conftest import CLASSES, make_table, truth


def answers_of(clips: int, right: float, table_seed: int = 0) -> list[Answer]:
    """Answers with what a probe had predicted, right in that share."""
    table, found = make_table(clips, table_seed), list[Answer]()
    for number, clip in enumerate(table.clips):
        said = truth(number) if number < right * clips else next(name for name in CLASSES if name != truth(number))
        states = dict.fromkeys(CLASSES, ABSENT) | {truth(number): PRESENT}
        found.append(Answer(clip, "anna", states, predicted={name: 0.8 if name == said else 0.1 for name in CLASSES}))
    return found


def test_kappa_is_of_predictions_and_of_classes_that_somebody_predicts() -> None:
    one = np.array([0, 1, 2, 0, 1, 2])
    assert agreement(one, one) == 1
    assert agreement(one, np.roll(one, 1)) < 0
    several = np.zeros((6, 3), dtype=bool)
    several[:3, 0] = True
    assert agreement(several, several) == 1
    assert agreement(several, np.zeros_like(several)) == 0, "classes that neither predicts count for nothing"
    assert agreement(np.zeros_like(several), np.zeros_like(several)) == 1


def test_more_labels_are_said_to_change_little_only_where_all_three_signs_hold_three_times() -> None:
    table = make_table(90)
    progress = Progress(table, LoopSettings(one_label=True))
    said = []
    for batch in range(12):
        clips = np.arange(30 + batch)
        labels = Labels(clips, np.eye(3)[clips % 3], True)
        progress.add(learn(table.rows[clips], labels, CLASSES), labels, answers_of(30, 0.9))
        said.append(progress.lines[0].startswith("More labels change little"))
    assert said.index(True) == BACK + 2
    assert all(said[BACK + 2 :])
    assert len(progress.kappas) == 11
    rare = Labels(np.arange(4), np.eye(3)[np.arange(4) % 3], True)
    progress.add(learn(table.rows[:4], rare, CLASSES), rare, answers_of(30, 0.9))
    assert progress.lines[-1] == (
        "3 classes have fewer than 5 positives: dunnock, robin, wren; --strategy seek_rare looks for them."
    )
    assert progress.held == 0


@pytest.mark.parametrize("strategy", ["seek_rare", "margin"])
def test_a_rare_class_that_was_looked_for_in_vain_keeps_nobody(strategy: str) -> None:
    """The wren is in three clips, all of which have an answer."""
    table = make_table(90)
    progress = Progress(table, LoopSettings(one_label=True, strategy=strategy))
    said = []
    for batch in range(12):
        numbers = [number for number in range(30 + 2 * batch) if truth(number) != "wren" or number < 9]
        clips = np.array(numbers)
        labels = Labels(clips, np.eye(3)[clips % 3], True)
        progress.add(learn(table.rows[clips], labels, CLASSES), labels, answers_of(30, 0.9))
        said.append(progress.lines[-1])
    if strategy == "margin":
        assert set(said) == {"1 class has fewer than 5 positives: wren; --strategy seek_rare looks for them."}
        assert progress.held == 0
    else:
        assert said[ROW - 1] == "1 class has fewer than 5 positives: wren."
        assert said[ROW] == (
            "Every class has 5 positives or more but wren, looked for in vain in the last three batches."
        )
        assert progress.lines[0].startswith("More labels change little")


def test_a_score_that_still_rises_is_no_reason_to_stop() -> None:
    table = make_table(90)
    progress = Progress(table, LoopSettings(one_label=True))
    clips = np.arange(45)
    labels = Labels(clips, np.eye(3)[clips % 3], True)
    learnt = learn(table.rows[clips], labels, CLASSES)
    for batch in range(8):
        progress.add(learnt, labels, answers_of(60, 0.2 + 0.1 * batch))
    assert "still rises" in progress.lines[1]
    assert progress.held == 0


def test_shares_have_wilsons_interval_and_unsure_clips_count_for_nothing() -> None:
    answers = answers_of(9, 1.0)
    answers[0].states["wren"] = UNSURE
    judged = judge_audit(answers, CLASSES, one_label=True)
    assert judged.prevalence["wren"] == wilson(3, 8)
    assert judged.prevalence["robin"] == wilson(3, 9)
    low, high = wilson(3, 9)[1:]
    centre = (3 + 1.96**2 / 2) / (9 + 1.96**2)
    assert (low + high) / 2 == pytest.approx(centre, abs=1e-3)
    assert (judged.scored.clips, judged.scored.unclear) == (8, 1)
    assert judged.scored.score == wilson(8, 8)
    assert math.isnan(judged.scored.off)


def test_several_labels_are_scored_by_macro_ap_over_recordings() -> None:
    answers = answers_of(60, 0.8)
    judged = judge_audit(answers, CLASSES, one_label=False)
    assert judged.metric == "macro AP"
    scored = judged.scored
    assert scored.chance == pytest.approx(1 / 3)
    assert scored.chance < scored.score.low < scored.score.value < scored.score.high <= 1
    assert 0 < scored.off < 0.3
    p, true = (
        torch.tensor([[said(one, name) for name in CLASSES] for one in answers])
        for said in (lambda one, name: one.predicted[name], lambda one, name: one.states[name] == PRESENT)
    )
    whole = mean_average_precision(p.double(), true.long())
    assert scored.score == confidence_interval(whole, [one.clip.recording for one in answers])
    alone = judge_audit(answers[:3], CLASSES, one_label=False).scored  # of one recording
    assert alone.score.value == pytest.approx(1.0)
    assert math.isnan(alone.score.low)


def test_a_clip_counts_for_the_classes_of_which_nobody_is_unsure() -> None:
    """Of clips that the probe is wrong about somebody is unsure of another class: the score stays what it is."""
    answers = answers_of(60, 0.8)
    whole = judge_audit(answers, CLASSES, one_label=False).scored
    for answer in answers[-12:]:
        answer.states["dunnock"] = UNSURE
    scored = judge_audit(answers, CLASSES, one_label=False).scored
    assert (scored.clips, scored.unclear) == (60, 12)
    kept = [average_precision(answers, name) for name in CLASSES]
    assert scored.score.value == pytest.approx(np.mean(kept))
    dropped = judge_audit(answers[:-12], CLASSES, one_label=False).scored
    assert abs(scored.score.value - whole.score.value) < abs(dropped.score.value - whole.score.value)


def average_precision(answers: list[Answer], name: str) -> float:
    sure = [one for one in answers if one.states.get(name, UNSURE) != UNSURE and name in one.predicted]
    return float(
        average_precision_score([one.states[name] == PRESENT for one in sure], [one.predicted[name] for one in sure])
    )


@pytest.mark.parametrize("one_label", [True, False])
def test_a_class_that_was_added_later_is_judged_too(one_label: bool) -> None:
    answers = answers_of(60, 0.8)
    for answer in answers[:20]:
        del answer.predicted["wren"]
        if not one_label:
            del answer.states["wren"]
    scored = judge_audit(answers, CLASSES, one_label=one_label).scored
    if one_label:
        hits = sum(not (number < 20 and truth(number) == "wren") for number in range(48))
        assert scored.score == wilson(hits, 60), "a class that it did not know is one that it missed"
    else:
        assert (scored.clips, scored.unclear) == (60, 20)
        assert scored.score.value == pytest.approx(np.mean([average_precision(answers, name) for name in CLASSES]))


def test_without_predictions_there_is_no_score() -> None:
    for one_label in (True, False):
        judged = judge_audit([], CLASSES, one_label=one_label)
        assert (judged.clips, judged.scored.clips) == (0, 0)
        assert math.isnan(judged.scored.score.value)
        assert all(math.isnan(share.value) for share in judged.prevalence.values())
