"""The mistakes of a page are those of the judgement, the surest first, and each can be played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models import create_model
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.negatives import FalsePositives
from oscine.probe.fit.judge import Judgement
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.report.html import Report
from oscine.probe.report.mistakes import judged_clips, show_false_positives, show_mistakes
from oscine.probe.tasks.kinds import TaskKind
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


def test_judged_clips_say_what_each_was_taken_for_the_surest_first(judgement: Judgement, task: Task) -> None:
    found = judged_clips(judgement, task)
    wrong = found[found["label"] != found["taken_for"]]
    assert wrong[["row", "label", "taken_for"]].to_numpy().tolist() == [[3, 0, 1], [5, 2, 0], [0, 0, 1]]
    assert wrong["probability"].iloc[0] == pytest.approx(LOGITS[3].double().softmax(0)[1].item())
    assert found["probability"].is_monotonic_decreasing
    assert sorted(found["row"]) == list(range(6))


def test_a_page_shows_and_plays_every_mistake_and_takes_no_name_for_markup(
    judgement: Judgement, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Report("mistakes")
    encoder = create_model("bird_mae_tiny", dim=24, depth=1, heads=2, seconds=0.5).eval()
    show_mistakes(page, encoder, task, judgement)
    html = page.html()
    assert "3 of 6 clips were taken for another class" in html
    assert "&lt;owl&gt;, taken for rook" in html
    assert "<owl>" not in html
    # Two pairs of classes; beside one of them a rook that was recognised.
    assert html.count("<audio") == html.count("data:audio/mpeg;base64,") == html.count("data:image/webp") == 3
    shown = html.partition("<details>")[0]
    assert [f"/{row}.wav" in shown for row in range(6)] == [False, True, False, True, False, True], "the surest of each"
    monkeypatch.setattr("oscine.probe.report.mistakes.SHOWN", 1)
    page = Report("the surest mistake")
    show_mistakes(page, encoder, task, judgement)
    assert page.html().count("<audio") == 2


def test_a_probe_without_mistakes_has_nothing_to_play(task: Task) -> None:
    right = torch.nn.functional.one_hot(LABELS, 3).float()
    page = Report("mistakes")
    show_mistakes(page, create_model("bird_mae_tiny"), task, Judgement([], [], logits=[right[:3], right[3:]]))
    assert "0 of 6 clips" in page.html()
    assert "<audio" not in page.html()


@pytest.mark.parametrize(
    ("like_noise", "said", "counted"),
    [
        ([], "has thresholds above its answers to silence and noise. It has learnt from such clips, too.", True),
        (
            ["wren"],
            "where a threshold above noise would lose most clips of a class: wren. Noise may be taken for these",
            True,
        ),
        (
            CLASSES,
            "has no threshold above its answers to silence and noise: every class sounds like noise to it",
            False,
        ),
    ],
)
def test_a_page_says_which_thresholds_are_above_noise_and_counts_only_by_those(
    like_noise: list[str], said: str, counted: bool
) -> None:
    encoder = create_model("bird_mae_tiny", dim=24, depth=1, heads=2, seconds=0.5)
    facts = {"negatives": {"noise": FalsePositives(9, 45.0, 1)._asdict()}, "sounds_like_noise": like_noise}
    probe = LinearProbe(encoder, 3, "mean")
    fitted = FittedProbe(probe, encoder, {}, CLASSES, 0.5, TaskKind.MULTI, fitted_on=facts)
    page = Report("noise")
    show_false_positives(page, fitted)
    assert said in page.html()
    assert ("<table" in page.html()) == counted
