"""The page of a run that judges by the moment shows the events that its scores are of."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.frontends.mel import MelScale
from oscine.probe.deploy.detections import recordings_of, write_detections
from oscine.probe.deploy.fitted_probe import keep_frames
from oscine.probe.deploy.predict import predict_folder
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.frames import Decision, FrameJudgement, judge_frames, score_events
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.metrics.bootstrap import Resampling
from oscine.probe.report.frames_page import (
    CLASS_HEADER,
    JudgedFrames,
    Scene,
    busiest,
    class_rows,
    frames_report,
    scene_figure,
)
from oscine.probe.report.html import Report
from oscine.probe.results.intervals import assess_frames, judged_recordings
from oscine.probe.tasks.frame_task import Event, FrameTask
from oscine.probe.tasks.selection_tables import read_raven
from oscine.probe.tasks.task import Part

RATE, SECONDS, ROWS = 16_000, 8.0, 12
CLASSES = ["cough", "drawer & <desk>", "never"]
BRIEF = FitSettings(steps=120, warmup=10, batch_size=4, lr=3e-2, weight_decay=0.0)
STEPS = replace(BRIEF, steps=4, warmup=1)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=24, depth=2, heads=2, seconds=SECONDS).eval()


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FrameTask:
    """A tone a class in noise; the last recording of each split is quiet."""
    folder, rng, time = (
        tmp_path_factory.mktemp("scenes"),
        np.random.default_rng(0),
        np.arange(int(RATE * SECONDS)) / RATE,
    )
    events: list[list[Event]] = []
    for row in range(ROWS):
        wave = 0.02 * rng.standard_normal(len(time))
        begins = [] if row % 4 == 3 else rng.choice(np.arange(0.8, 7, 1.6), 3, replace=False)
        events.append(sorted(Event(float(begin), float(begin) + 0.64, int(rng.integers(2))) for begin in begins))
        for event in events[-1]:
            wave += 0.3 * np.sin(2 * np.pi * (600, 3000)[event.label] * time) * (abs(time - event.onset - 0.32) < 0.32)
        soundfile.write(folder / f"{row}.wav", wave, RATE)
    part = Part("test", torch.arange(4), torch.arange(8, ROWS), torch.arange(4, 8))
    return FrameTask(
        pd.DataFrame({"path": [str(folder / f"{row}.wav") for row in range(ROWS)]}), CLASSES, events, [part]
    )


def judged(probe: type[Probe], encoder: Encoder, task: FrameTask, fit: FitSettings, **head: Any) -> FrameJudgement:
    def make() -> Probe:
        return probe(encoder, len(CLASSES), pool="frames", **head)  # type: ignore[call-arg]

    features = encode_task(encoder, task.whole, make().needs, task.seconds)
    return judge_frames(make, features, task, fit, hop=encoder.step_seconds)


@pytest.fixture(scope="module")
def judgement(encoder: Encoder, task: FrameTask) -> FrameJudgement:
    return judged(LinearProbe, encoder, task, BRIEF)


def portrayed(encoder: Encoder, task: FrameTask, judgement: FrameJudgement, title: str = "") -> Report:
    evidence = assess_frames(judged_recordings(judgement, task), Resampling(100))
    return frames_report(title, JudgedFrames(encoder, task, judgement), evidence)


def headings(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


def test_the_page_has_all_that_can_be_shown_and_nothing_to_fetch(
    encoder: Encoder, task: FrameTask, judgement: FrameJudgement
) -> None:
    page = portrayed(encoder, task, judgement, "a <run>").html()
    assert headings(page) == ["Scores", "Which threshold?", "Recordings", "Classes"]
    assert page.count("<figure") == 3
    assert "a &lt;run&gt;" in page
    assert "drawer &amp; &lt;desk&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    onset = judgement.published[0].onset
    assert f"<td>test, published</td><td>0.3</td><td>3</td><td>{onset.f1:.3f}</td>" in page
    assert (
        "from Student's t over 4 recordings, each left out in turn" in page
        or "from Student&#x27;s t over 4 recordings" in page
    )
    for name, (value, low, high) in assess_frames(
        judged_recordings(judgement, task), Resampling(100)
    ).intervals.items():
        assert f"<td>{name}</td><td>{value:.3f}</td><td>{low:.3f} to {high:.3f}</td>" in page


def test_where_no_interval_can_be_said_the_page_says_why(
    encoder: Encoder, task: FrameTask, judgement: FrameJudgement
) -> None:
    alone = replace(task, rows=task.rows.assign(group="one"))
    page = portrayed(encoder, alone, judgement).html()
    assert "Left out: 1 group of recordings is too few for an interval, which takes 3 at least." in page
    assert "bootstrap" not in page


@pytest.mark.parametrize("median", [1, 7])
def test_what_is_predicted_is_what_was_judged(
    encoder: Encoder, task: FrameTask, judgement: FrameJudgement, tmp_path: Path, median: int
) -> None:
    """By threshold and median alike: the two were chosen together."""
    part, steps = task.parts[0], round(SECONDS / judgement.hop)
    judgement = replace(judgement, logits=[judgement.logits[0][:, :steps]])  # without one that begins where they end
    probabilities = judgement.logits[0].sigmoid()
    truth, hop = [task.events[row] for row in part.test.tolist()], judgement.hop
    threshold = probabilities.median().item()  # at which answers come and go
    chosen, other = (score_events(probabilities, truth, Decision(threshold, size), hop) for size in (median, 3))
    assert chosen.onset.found != other.onset.found, "a median that was not kept would be seen"
    decided = replace(judgement, chosen=[chosen])
    save_probe(keep_frames(decided, encoder, {"pool": "frames"}, task=task), tmp_path / "probe", with_encoder=True)
    fitted = load_probe(tmp_path / "probe")
    assert (fitted.median, fitted.thresholds[0].item()) == (median, pytest.approx(threshold))
    (tmp_path / "recordings").mkdir()
    paths = [Path(task.rows["path"].iloc[row]) for row in part.test.tolist()]
    copies = [Path(shutil.copy(path, tmp_path / "recordings")) for path in paths]
    predict_folder(fitted, tmp_path / "recordings", tmp_path / "said.parquet", workers=0)
    said = {name: torch.tensor(rows[CLASSES].to_numpy()) for name, rows in recordings_of(tmp_path / "said.parquet")}
    for path, judged in zip(paths, probabilities, strict=True):
        torch.testing.assert_close(said[path.name].float(), judged, atol=1e-5, rtol=0)
    count = write_detections(fitted, tmp_path / "said.parquet", tmp_path / "recordings", tmp_path / "found.txt")
    assert count == chosen.onset.found
    found = read_raven(tmp_path / "found.txt", copies)
    for path, one in zip(copies, JudgedFrames(encoder, task, decided).recordings, strict=True):
        own = found[found["path"] == str(path)]
        predicted = sorted(zip(own["start"], own["end"], map(CLASSES.index, own["label"])))
        judged_events = [(event.onset, event.offset + hop, event.label) for event in one.found]
        assert predicted == [tuple(pytest.approx(value, abs=1e-5) for value in event) for event in judged_events]


def test_a_probe_that_mixes_layers_shows_its_gate(encoder: Encoder, task: FrameTask) -> None:
    page = portrayed(encoder, task, judged(ConvexGatedProbe, encoder, task, STEPS, prototypes=24)).html()
    assert "Layers" in headings(page)


def test_without_validation_recordings_no_threshold_is_drawn(encoder: Encoder, task: FrameTask) -> None:
    bare = replace(task, parts=[task.parts[0]._replace(valid=torch.empty(0, dtype=torch.long))])
    page = portrayed(encoder, bare, judged(LinearProbe, encoder, bare, STEPS)).html()
    assert headings(page) == ["Scores", "Recordings", "Classes"]


def test_without_any_event_to_find_no_recording_is_drawn(
    encoder: Encoder, task: FrameTask, judgement: FrameJudgement
) -> None:
    silent = replace(task, events=[*task.events[:8], *([[]] * 4)])
    page = portrayed(encoder, silent, judgement).html()
    assert "Recordings" not in headings(page)


def test_the_classes_of_the_table_add_up_to_the_scores(task: FrameTask, judgement: FrameJudgement) -> None:
    judged_frames, (scores,) = JudgedFrames(encoder, task, judgement), judgement.chosen
    assert scores is not None
    table = pd.DataFrame(class_rows(judged_frames), columns=CLASS_HEADER)
    assert (
        table["events"].astype(int).sum()
        == scores.onset.annotated
        == sum(len(task.events[row]) for row in range(8, 12))
    )
    assert table["found"].astype(int).sum() == scores.onset.found
    right = (table["found"].astype(int) * table["precision"].replace("–", "0").astype(float)).sum()
    assert right == pytest.approx(scores.onset.matched, abs=0.01)
    assert table["onset F1"].tolist() == sorted(table["onset F1"])


@pytest.mark.parametrize("classes", [3, 40])
def test_a_scene_shows_its_events_in_the_lanes_of_their_classes(classes: int) -> None:
    true, found = [Event(1.0, 2.0, 0), Event(5.0, 5.5, classes - 1)], [Event(1.1, 1.1, 0)]
    probabilities = torch.zeros(60, classes)
    probabilities[40, classes // 2] = 0.9
    scene = Scene(torch.rand(960, 128), probabilities, 0.16, true, found)
    names = [f"class {number}" for number in range(classes)]
    figure = scene_figure(scene, names, MelScale(0.01, 0.0, 8000, 128), begin=0.0, end=9.6)
    heat, lanes = figure.axes[1:3]
    shown = [label.get_text() for label in lanes.get_yticklabels()]
    assert len(shown) == min(classes, 16)
    assert {"class 0", names[-1], names[classes // 2]} <= set(shown)
    assert [label.get_text() for label in heat.get_yticklabels()] == shown
    bars = [bar.get_paths()[0].get_extents() for bar in lanes.collections if hasattr(bar, "get_paths")][:3]
    assert [(bar.x0, bar.x1) for bar in bars] == [(1.0, 2.0), (5.0, 5.5), (1.1, pytest.approx(1.26))]
    lane = [shown.index(name) for name in ("class 0", names[-1], "class 0")]
    assert [round((bar.y0 + bar.y1) / 2) for bar in bars] == lane
    image = heat.images[0]
    assert np.asarray(image.get_array())[shown.index(names[classes // 2]), 40] == pytest.approx(0.9)
    assert list(image.get_extent()[:2]) == [0.0, pytest.approx(9.6)]


@pytest.mark.parametrize(
    ("onsets", "seconds", "whole", "expected"),
    [
        ([1, 20, 21, 22, 50], 10, 60, (19.5, 29.5)),
        ([58, 59], 10, 60, (50, 60)),
        ([0.2], 10, 60, (0, 10)),
        ([3, 4], 30, 8, (0, 8)),
        ([], 30, 60, (0, 30)),
    ],
)
def test_the_busiest_stretch_is_the_one_in_which_most_events_begin(
    onsets: list[float], seconds: float, whole: float, expected: tuple[float, float]
) -> None:
    assert busiest([Event(at, at + 0.1, 0) for at in onsets], seconds, whole) == expected
