"""The mistakes of a page are those of the judgement, the surest first, and each can be played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models import create_model
from oscine.probe.fit.judge import Judgement
from oscine.probe.report.html import Report
from oscine.probe.report.mistakes import Mistake, clearest, mistakes, of_several_pairs, show_mistakes
from oscine.probe.tasks.task import Part, Task

RATE = 32_000
CLASSES = ["<owl>", "rook", "wren"]
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
# Rows 0 and 3 are taken for rooks, the second of them surely; row 5 for an owl.
LOGITS = torch.tensor([[0.0, 1, 0], [0, 3, 0], [0, 0, 5], [0, 6, 0], [0, 2, 0], [2, 0, 0]])


@pytest.fixture
def task(tmp_path: Path) -> Task:
    rng = np.random.default_rng(0)
    for row in range(6):
        soundfile.write(tmp_path / f"{row}.wav", rng.uniform(-0.01, 0.01, RATE // 2), RATE)
    rows = pd.DataFrame({"path": [str(tmp_path / f"{row}.wav") for row in range(6)]})
    order = torch.arange(6)
    return Task(rows, CLASSES, LABELS, [Part("fold 0", order[3:], order[:3]), Part("fold 1", order[:3], order[3:])])


@pytest.fixture
def judgement() -> Judgement:
    return Judgement(["fold 0", "fold 1"], [], logits=[LOGITS[:3], LOGITS[3:]])


def test_mistakes_are_the_rows_of_another_class_the_surest_first(judgement: Judgement, task: Task) -> None:
    found = mistakes(judgement, task)
    assert [(one.row, one.label, one.taken_for) for one in found] == [(3, 0, 1), (5, 2, 0), (0, 0, 1)]
    assert found[0].probability == pytest.approx(LOGITS[3].double().softmax(0)[1].item())


def test_one_mistake_is_shown_of_every_pair_of_classes(judgement: Judgement, task: Task) -> None:
    assert [one.row for one in of_several_pairs(mistakes(judgement, task))] == [3, 5]
    many = [Mistake(row, row, row + 1, 0.5) for row in range(20)]
    assert of_several_pairs(many, most=6) == many[:6]


def test_what_a_mistake_is_compared_with_was_recognised_most_surely(judgement: Judgement, task: Task) -> None:
    assert clearest(judgement, task) == {1: 1, 2: 2}, "no owl was recognised"


def test_a_page_shows_and_plays_every_mistake_and_takes_no_name_for_markup(judgement: Judgement, task: Task) -> None:
    page = Report("mistakes")
    encoder = create_model("bird_mae_tiny", dim=24, depth=1, heads=2, seconds=0.5).eval()
    show_mistakes(page, encoder, task, judgement)
    html = page.html()
    assert "3 of 6 clips were taken for another class" in html
    assert "&lt;owl&gt;, taken for rook" in html
    assert "<owl>" not in html
    # Two pairs of classes; beside one of them a rook that was recognised.
    assert html.count("<audio") == html.count("data:audio/mpeg;base64,") == html.count("data:image/webp") == 3


def test_a_probe_without_mistakes_has_nothing_to_play(task: Task) -> None:
    right = torch.nn.functional.one_hot(LABELS, 3).float()
    page = Report("mistakes")
    show_mistakes(page, create_model("bird_mae_tiny"), task, Judgement([], [], logits=[right[:3], right[3:]]))
    assert "0 of 6 clips" in page.html()
    assert "<audio" not in page.html()
