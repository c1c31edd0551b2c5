"""A few clips a class: as many as asked, of as many recordings as there are, the same ones for the same draw."""

from __future__ import annotations

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.probe.fit.few_shot import few_shot, few_shot_curve
from oscine.probe.fit.judge import Judgement, score
from oscine.probe.tasks.task import Part, Task

TRAIN = 60


def asked(single_label: bool = True) -> Task:
    """To learn from: 20 clips of each of three classes, five to a recording; the rest is judged."""
    labels = torch.arange(TRAIN + 30) % 3
    rows = pd.DataFrame({"path": [f"{row % 12}.wav" for row in range(TRAIN)] + [f"test{row}.wav" for row in range(30)]})
    targets: Tensor = labels
    if not single_label:
        targets = torch.nn.functional.one_hot(labels, 3).float()
        targets[:30:2, 0] = 1  # every other of the first clips has one label more, or is of the first class
    return Task(rows, list("abc"), targets, [Part("test", torch.arange(TRAIN), torch.arange(TRAIN, TRAIN + 30))])


@pytest.mark.parametrize("single_label", [True, False])
def test_each_class_has_so_many_clips_of_one_label_and_what_is_judged_stays(single_label: bool) -> None:
    task = asked(single_label)
    drawn = few_shot(task, 5)
    (part,) = drawn.parts
    targets = task.targets[part.train]
    counts = targets.bincount() if single_label else targets.sum(0)
    assert counts.tolist() == [5, 5, 5]
    assert single_label or (targets.sum(1) == 1).all()
    assert set(part.train.tolist()) <= set(range(TRAIN))
    assert torch.equal(part.test, task.parts[0].test)
    assert drawn.rows is task.rows, "features of the rows serve every draw"


def test_every_recording_gives_one_clip_before_any_gives_two() -> None:
    task = asked()
    for draw in range(10):
        for shots, fewest in ((4, 1), (8, 2)):  # of four recordings a class
            (part,) = few_shot(task, shots, draw).parts
            paths = task.rows["path"].iloc[part.train.numpy()]
            assert (paths.value_counts() == fewest if shots == 4 else paths.value_counts() >= 1).all()
            assert paths.nunique() == 12


def test_the_draw_and_the_seed_decide_the_clips() -> None:
    def rows(**which: int) -> list[int]:
        return few_shot(asked(), 3, **which).parts[0].train.tolist()

    assert rows(draw=1) == rows(draw=1)
    assert rows(draw=1) != rows(draw=2)
    assert rows(seed=1) != rows(seed=2)


def test_a_class_with_fewer_clips_gives_all_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    task = asked()
    few = Task(task.rows, task.classes, task.targets, [task.parts[0]._replace(train=torch.arange(7))])
    with caplog.at_level(logging.WARNING):
        (part,) = few_shot(few, 3).parts
    assert task.targets[part.train].bincount().tolist() == [3, 2, 2]
    assert "2 of 3 classes have fewer than 3 clips to learn from" in caplog.text


def test_a_curve_has_mean_and_spread_over_its_draws() -> None:
    seen = []

    def judge(task: Task) -> Judgement:
        (part,) = task.parts
        seen.append(part.train.tolist())
        draw = torch.Generator().manual_seed(len(seen))
        logits = torch.randn(len(part.test), 3, generator=draw)
        return Judgement(["test"], [score(logits, task.targets[part.test])], logits=[logits])

    curve = few_shot_curve(asked(), judge, shots=(1, 4), draws=3)
    assert [(point.shots, len(point.draws)) for point in curve] == [(1, 3), (4, 3)]
    assert [len(rows) for rows in seen] == [3, 3, 3, 12, 12, 12]
    assert seen == [few_shot(asked(), shots, draw).parts[0].train.tolist() for shots in (1, 4) for draw in (1, 2, 3)]
    accuracies = [judgement.metrics[0].accuracy for judgement in curve[1].draws]
    assert curve[1].summary("accuracy") == (np.mean(accuracies), np.std(accuracies))
    written = json.loads(json.dumps(curve[1].as_dict(), allow_nan=False))
    assert (written["shots"], written["mean"]["accuracy"]) == (4, np.mean(accuracies))
    assert written["std"]["accuracy"] == np.std(accuracies)
    assert [draw["mean"]["accuracy"] for draw in written["draws"]] == accuracies


def test_no_clips_a_class_get_a_clear_line() -> None:
    with pytest.raises(OscineError, match="0 clips a class; a probe learns from 1 at least"):
        few_shot(asked(), 0)
