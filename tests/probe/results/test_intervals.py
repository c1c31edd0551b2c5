"""Intervals hold the scores that they are of, and whatever is chosen is chosen by validation rows alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.errors import OscineError
from oscine.probe.fit.judge import Judgement, score
from oscine.probe.metrics.bootstrap import Resampling, accuracy, confidence_interval
from oscine.probe.metrics.calibration import calibration, fit_platt
from oscine.probe.metrics.decisions import best_thresholds
from oscine.probe.metrics.metrics import f1_scores
from oscine.probe.results.intervals import NONE_CHOSEN, NOT_JUDGED, PLAIN, Assessment, assess, compare_predictions
from oscine.probe.results.predictions import predictions_of
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Part, Task

ROWS, CLASSES = 240, 3


def asked(single_label: bool, folds: int = 2, valid: bool = True, recordists: int = 60) -> Task:
    """Rows of which every fold judges its share; a fifth of the others choose."""
    draw = torch.Generator().manual_seed(0)
    targets = torch.randint(CLASSES, (ROWS,), generator=draw)
    if not single_label:
        targets = (torch.rand(ROWS, CLASSES, generator=draw) < torch.tensor([0.5, 0.3, 0.1])).float()
    rows = pd.DataFrame({"path": [f"{row}.wav" for row in range(ROWS)]})
    rows["recordist"] = rows.index % recordists
    fold = torch.arange(ROWS) % recordists % folds
    parts = []
    for number in range(folds):
        test, rest = (fold == number).nonzero()[:, 0], (fold != number).nonzero()[:, 0]
        chosen = rest[::5] if valid else rest[:0]
        parts.append(Part(f"fold {number}", rest[~torch.isin(rest, chosen)], test, chosen))
    return Task(rows, list("abc"), targets, parts)


def judged(task: Task, seed: int = 1, signal: float = 2.0, heat: float = 3.0) -> Judgement:
    """What a probe might say: right with noise, and as sure as it is hot."""
    draw = torch.Generator().manual_seed(seed)
    known = one_hot(task.targets, CLASSES) if task.kind is TaskKind.SINGLE else task.targets
    logits = heat * (torch.randn(ROWS, CLASSES, generator=draw) + signal * (known - 0.5))
    metrics = [score(logits[part.test], task.targets[part.test]) for part in task.parts]
    return Judgement(
        [part.name for part in task.parts],
        metrics,
        logits=[logits[part.test] for part in task.parts],
        valid_logits=[logits[part.valid] for part in task.parts],
    )


@pytest.mark.parametrize("single_label", [False, True])
def test_an_interval_is_of_the_very_score_that_the_judgement_has(single_label: bool) -> None:
    task = asked(single_label)
    judgement = judged(task)
    found = assess(judgement, task, Resampling(200))
    for name in ("accuracy", "cmap", "auroc"):
        interval = found.intervals[name]
        assert interval.value == pytest.approx(judgement.summary(name)[0])
        assert interval.low < interval.value < interval.high
    assert found.groups == 60
    assert found.method == "a bootstrap over 60 recordists"
    assert not found.omitted


def test_rows_that_belong_together_are_drawn_together() -> None:
    task = asked(single_label=True, recordists=30)
    part = task.parts[0]
    judgement = judged(task)
    alone = Judgement(["fold 0"], [], logits=judgement.logits[:1], valid_logits=judgement.valid_logits[:1])
    score = accuracy(judgement.logits[0], one_hot(task.targets[part.test], CLASSES))
    people = task.rows["recordist"].iloc[part.test.numpy()]
    found = assess(alone, replace(task, parts=[part]), Resampling(200, 0.9, 3))
    assert found.groups == 15
    assert found.intervals["accuracy"] == confidence_interval(score, list(people), Resampling(200, 0.9, 3))


def test_f1_is_that_of_thresholds_which_validation_rows_chose() -> None:
    task = asked(single_label=False)
    judgement = judged(task)
    values = []
    for part, logits, valid in zip(task.parts, judgement.logits, judgement.valid_logits, strict=True):
        scaling = fit_platt(valid, task.targets[part.valid])
        thresholds = best_thresholds(scaling(valid.double()).sigmoid(), task.targets[part.valid])
        predicted = scaling(logits.double()).sigmoid() > thresholds
        values.append(f1_scores(predicted, task.targets[part.test]).nan_to_num(0.0).mean())
    assert assess(judgement, task, Resampling(50)).intervals["chosen_f1"].value == pytest.approx(
        torch.stack(values).mean().item()
    )


@pytest.mark.parametrize("single_label", [False, True])
def test_one_group_a_fold_has_an_interval_wider_than_what_the_folds_say(single_label: bool) -> None:
    """Of four recordists, each left out with its fold: that has no score then, rather than a bad one."""
    task = asked(single_label, folds=4, recordists=4)
    perfect = assess(judged(task, signal=20.0), task, Resampling(300))
    assert perfect.groups == 4
    assert perfect.method == "Student's t over 4 recordists, each left out in turn, because there are few"
    assert perfect.intervals["chosen_f1"].value == perfect.intervals["chosen_f1"].high == 1.0
    assert [tuple(perfect.intervals[name]) for name in ("accuracy", "cmap", "auroc")] == [(1.0, 1.0, 1.0)] * 3
    judgement = judged(task, signal=1.0)
    found = assess(judgement, task, Resampling(300))
    values = []
    for part, logits in zip(task.parts, judgement.logits, strict=True):
        choice, targets = found.choices[part.name], task.targets[part.test]
        said = choice.scaling(logits.double())
        predicted = (said.softmax(1) if single_label else said.sigmoid()) > choice.thresholds
        values.append(f1_scores(predicted, one_hot(targets, CLASSES) if single_label else targets).mean().item())
    value, low, high = found.intervals["chosen_f1"]
    assert value == pytest.approx(sum(values) / 4)
    assert low < min(values) < value < max(values) < high


def test_scalings_of_validation_rows_cool_down_what_is_too_sure() -> None:
    task = asked(single_label=False)
    judgement = judged(task, heat=3.0)
    found = assess(judgement, task, Resampling(50))
    assert set(found.calibration) == {PLAIN, "temperature", "temperature per class", "platt", "platt per class"}
    for name in found.calibration.keys() - {PLAIN}:
        assert found.calibration[name].pooled.error < found.calibration[PLAIN].pooled.error
    part, valid, logits = task.parts[0], judgement.valid_logits[0], judgement.logits[0]
    scaling = fit_platt(valid, task.targets[part.valid])
    assert found.choices["fold 0"].scaling.scale == scaling.scale
    alone = replace(task, parts=[part])
    only = assess(Judgement(["fold 0"], [], logits=[logits], valid_logits=[valid]), alone, Resampling(50))
    expected = calibration(scaling(logits).double().sigmoid(), task.targets[part.test])
    assert only.calibration["platt"].marginal == expected.marginal


@pytest.mark.parametrize("single_label", [False, True])
def test_judged_rows_choose_nothing(single_label: bool) -> None:
    task = asked(single_label)
    judgement = judged(task)
    spoilt = replace(judgement, logits=[-logits for logits in judgement.logits])
    ours, theirs = (assess(one, task, Resampling(10)).choices for one in (judgement, spoilt))
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        assert torch.equal(one.thresholds, other.thresholds)
        assert torch.equal(one.scaling.scale, other.scaling.scale)
    flipped = task.targets.clone()
    judged_rows = torch.cat([part.test for part in task.parts[:1]])
    flipped[judged_rows] = (CLASSES - 1 - flipped[judged_rows]) if single_label else 1 - flipped[judged_rows]
    first = replace(task, parts=task.parts[:1])
    alone = Judgement(["fold 0"], [], logits=judgement.logits[:1], valid_logits=judgement.valid_logits[:1])
    found = assess(alone, replace(first, targets=flipped), Resampling(10)).choices["fold 0"]
    assert torch.equal(found.thresholds, ours["fold 0"].thresholds)


def test_without_validation_rows_nothing_is_chosen_and_the_reason_is_given() -> None:
    task = asked(single_label=True, valid=False)
    found = assess(judged(task), task, Resampling(50))
    assert set(found.calibration) == {PLAIN}
    assert set(found.intervals) == {"accuracy", "cmap", "auroc"}
    assert not found.choices
    assert found.omitted == {"choices": NOT_JUDGED}
    alone = Judgement(["fold 0"], [], logits=judged(task).logits[:1], valid_logits=judged(task).valid_logits[:1])
    assert assess(alone, replace(task, parts=task.parts[:1]), Resampling(50)).omitted == {"choices": NONE_CHOSEN}


def test_one_group_has_no_interval_and_the_reason_is_given() -> None:
    task = asked(single_label=True, folds=1, recordists=1)
    task = replace(task, parts=[Part("test", torch.arange(9), torch.arange(9, ROWS))])
    found = assess(judged(task), task)
    assert not found.intervals
    assert found.omitted["intervals"] == "1 recordist (0) is too few for an interval, which takes 3 at least"


def test_clips_without_groups_are_called_clips() -> None:
    task = asked(single_label=True)
    found = assess(judged(task), replace(task, rows=task.rows[["path"]]), Resampling(20))
    assert found.method == "a bootstrap over 240 clips"


def test_evidence_is_json_without_nan() -> None:
    task = asked(single_label=False)
    task = replace(task, targets=task.targets * torch.tensor([1, 1, 0]))  # a class that never occurs
    text = json.dumps(assess(judged(task), task, Resampling(50)).as_dict(), allow_nan=False)
    written = json.loads(text)
    assert set(written) == {"intervals", "groups", "over", "calibration", "choices", "unsaid"}
    assert set(written["intervals"]["cmap"]) == {"value", "low", "high"}
    assert set(written["calibration"][PLAIN]) == {"marginal", "weighted", "pooled", "curve"}
    assert len(written["choices"]["fold 0"]["thresholds"]) == CLASSES
    assert len(written["choices"]["fold 1"]["scaling"]["scale"]) == 1
    empty = Assessment({}, 1, {}, {}, {}).as_dict()
    assert empty["intervals"] == {}


def test_a_probe_is_no_better_than_itself_and_clearly_better_than_noise() -> None:
    task = asked(single_label=False)
    judgements = judged(task), judged(task, signal=0.2)
    good, poor = (predictions_of(judgement, task) for judgement in judgements)
    for found in compare_predictions(good, good, Resampling(100)).values():
        assert found == ((0, 0, 0), 0.5)
    for name, found in compare_predictions(good, poor, Resampling(100)).items():
        better, worse = (judgement.summary(name)[0] for judgement in judgements)
        assert found.difference.value == pytest.approx(better - worse)
        assert found.difference.low > 0
        assert found.ahead == 1


def test_a_score_that_no_part_defines_is_null() -> None:
    targets: Tensor = torch.ones(ROWS, CLASSES)
    task = replace(asked(single_label=False, valid=False), targets=targets)
    interval = assess(judged(task), task, Resampling(20)).intervals["auroc"]
    assert math.isnan(interval.value)
    assert assess(judged(task), task, Resampling(20)).as_dict()["intervals"]["auroc"]["value"] is None


def test_other_tasks_are_not_compared() -> None:
    two, three = (predictions_of(judged(task), task) for task in (asked(True), asked(True, folds=3)))
    with pytest.raises(OscineError, match="compare runs of one task"):
        compare_predictions(two, three)
