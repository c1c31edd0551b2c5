"""Detections in soundscapes: matched by species and time, decided by other recordings, read as they were written."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from pandas import DataFrame

from oscine.models import create_model
from oscine.models.audio.load import audio_info
from oscine.probe.deploy.fitted_probe import ProbeFit
from oscine.probe.deploy.negatives import make_negatives
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.frames import Decision
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.report.html import Report
from oscine.probe.report.soundscapes import (
    Soundscape,
    SoundscapeDetections,
    choose_decisions,
    detect_in_soundscapes,
    overlapping,
    read_songs,
    read_soundscapes,
    score_row,
    show_soundscapes,
    soundscape_figure,
    soundscapes_of,
    write_soundscapes,
)
from oscine.probe.tasks.chorus import make_chorus
from oscine.probe.tasks.selection_tables import COLUMNS, write_raven
from oscine.probe.tasks.task import Part, Task, read_task

CLASSES = ["high", "low"]
RATE, SECONDS = 16_000, 4.0
HEAD = {"pool": "frame_bands", "norm": "batch"}


def table(*rows: tuple[float, float, str]) -> DataFrame:
    return DataFrame([{"start": start, "end": end, "label": label} for start, end, label in rows], columns=COLUMNS)


def test_a_detection_is_right_if_a_song_of_its_species_sounds_meanwhile() -> None:
    songs = table((1.0, 2.0, "low"), (5.0, 6.0, "high"))
    found = table((1.5, 3.0, "low"), (2.0, 3.0, "low"), (5.2, 5.4, "low"))
    assert overlapping(found, songs) == [True, False, False]
    assert overlapping(songs, found) == [True, False]


def test_precision_and_recall_are_of_seconds_so_that_long_detections_win_nothing() -> None:
    songs = table((1.0, 2.0, "low"), (5.0, 6.0, "high"))
    everywhere = Soundscape(Path("a.flac"), songs, table((0.0, 10.0, "low"), (0.0, 10.0, "high")))
    exact = Soundscape(Path("b.flac"), songs, songs)
    matches = [one.matches(CLASSES) for one in (everywhere, exact)]
    assert score_row("a", [everywhere], matches[:1]) == ["a", "2", "2", "2", "2", "0.10", "1.00", "0.18"]
    assert score_row("b", [exact], matches[1:]) == ["b", "2", "2", "2", "2", "1.00", "1.00", "1.00"]
    nothing = Soundscape(Path("c.flac"), songs, table())
    assert score_row("c", [nothing], [nothing.matches(CLASSES)]) == ["c", "2", "0", "0", "0", "–", "0.00", "0.00"]


def test_a_song_of_a_species_that_no_clip_is_labelled_with_cannot_be_found_and_is_not_counted() -> None:
    one = Soundscape(Path("a.flac"), table((1.0, 2.0, "low"), (3.0, 4.0, "crane")), table())
    assert one.matches(CLASSES).annotated == 1


def probabilities(low: float) -> DataFrame:
    """Of ten seconds, a frame each: the low one sounds surely at first, and elsewhere with a probability of `low`."""
    times = [("a", float(second), second + 1.0) for second in range(10)]
    index = pd.MultiIndex.from_tuples(times, names=["file", "start_time", "end_time"])
    return DataFrame({"high": 0.0, "low": [0.9] * 5 + [low] * 5}, index=index)


def test_a_decision_is_made_by_the_other_recordings() -> None:
    """In the first recording 0.6 means a song, in the second it does not: each is decided by what holds in the other."""
    rows = {Path("first"): probabilities(0.6), Path("second"): probabilities(0.6)}
    songs = {Path("first"): table((0.0, 10.0, "low")), Path("second"): table((0.0, 5.0, "low"))}
    decisions = choose_decisions(rows, songs, CLASSES)
    assert decisions[Path("first")].threshold > 0.6
    assert decisions[Path("second")].threshold <= 0.6
    alone = Path("first")
    assert choose_decisions({alone: rows[alone]}, songs, CLASSES) == {alone: Decision()}


def whistle(pitch: float, seconds: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of low and high whistles in noise by two recordists, and two recordings in which both whistle once."""
    made, rng = tmp_path_factory.mktemp("whistles"), np.random.default_rng(0)
    for row in range(16):
        sound = whistle((600 if row % 2 else 3000) * rng.uniform(0.95, 1.05), 1.0) + rng.normal(0, 0.01, RATE)
        soundfile.write(made / f"{row}.wav", sound, RATE)
    for number in range(2):
        sound = rng.normal(0, 0.01, round(SECONDS * RATE))
        songs = []
        for start, label in ((0.5, "low"), (2.5, "high")):
            begin = round(start * RATE)
            sound[begin : begin + RATE] += whistle(600 if label == "low" else 3000, 1.0)
            songs.append({"path": str(made / f"long_{number}.wav"), "start": start, "end": start + 1.0, "label": label})
        path = made / f"long_{number}.wav"
        soundfile.write(path, sound, RATE)
        write_raven(path.with_suffix(".txt"), DataFrame(songs, columns=COLUMNS), {str(path): audio_info(path)})
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> SoundscapeDetections:
    torch.manual_seed(0)
    encoder = create_model("bird_mae_tiny", dim=24, depth=1, heads=2, seconds=1.0).eval()
    rows = DataFrame({"path": [str(folder / f"{row}.wav") for row in range(16)]})
    order = torch.arange(16)
    parts = [Part("fold 0", order[8:], order[:8]), Part("fold 1", order[:8], order[8:])]
    task = Task(rows, CLASSES, order % 2, parts)
    make_probe = partial(LinearProbe, encoder, len(CLASSES), **HEAD)
    features = encode_task(encoder, task, make_probe().needs)
    fit = FitSettings(steps=60, warmup=6, batch_size=8, lr=1e-2, weight_decay=0.0, beta2=0.999, clip=None, seed=0)
    recordings = {f"fold {number}": folder / f"long_{number}.wav" for number in range(2)}
    negatives = make_negatives(encoder, make_probe().needs, task, early=False)
    return detect_in_soundscapes(ProbeFit(make_probe, HEAD, encoder, features, task, fit), recordings, negatives)


def test_whistles_are_found_where_they_are(found: SoundscapeDetections) -> None:
    for one in found.soundscapes:
        assert one.songs["label"].tolist() == ["low", "high"]
        assert overlapping(one.songs, one.detections) == [True, True]
        assert one.matches(CLASSES).f1 > 0.6


def test_nothing_is_found_in_silence_and_noise(found: SoundscapeDetections) -> None:
    assert {kind: (rate.clips, rate.detections) for kind, rate in found.false_positives.items()} == {
        "silence": (8, 0),
        "noise": (72, 0),
    }


def test_detections_are_read_as_they_were_written(found: SoundscapeDetections, folder: Path, tmp_path: Path) -> None:
    recordings = {str(number): folder / f"long_{number}.wav" for number in range(2)}
    assert read_soundscapes(recordings, tmp_path / "detections") is None
    write_soundscapes(found, tmp_path / "detections")
    read = read_soundscapes(recordings, tmp_path / "detections")
    assert read is not None
    assert read.false_positives == found.false_positives
    for mine, its in zip(found.soundscapes, read.soundscapes, strict=True):
        assert (mine.path, mine.detections["label"].tolist()) == (its.path, its.detections["label"].tolist())
        np.testing.assert_allclose(mine.detections[["start", "end"]], its.detections[["start", "end"]], atol=1e-5)
        assert mine.matches(CLASSES) == its.matches(CLASSES)


def test_a_page_shows_one_recording_and_folds_the_others(found: SoundscapeDetections) -> None:
    page = Report("soundscapes")
    show_soundscapes(page, found, create_model("bird_mae_tiny", dim=24, depth=1, heads=2), CLASSES)
    html = page.html()
    assert html.count("<audio") == html.count("<img") == 2
    assert html.index("<img") < html.index("<details>") < html.rindex("<img")
    assert "so many detections: none in 0.13 min of silence, none in 1.2 min of noise. They" in html
    assert "50% of them, which is the precision of guessing" in html, "each song lies in two of four seconds"


def test_a_picture_has_a_line_for_every_species_and_a_bar_for_every_song_and_detection(
    found: SoundscapeDetections,
) -> None:
    mel_scale = create_model("bird_mae_tiny").frontend.mel_scale
    one = Soundscape(found.soundscapes[0].path, table((0.5, 1.5, "low")), table((0.6, 1.0, "low"), (2.0, 3.0, "owl")))
    figure = soundscape_figure(torch.rand(400, 128), mel_scale, SECONDS, one)
    top, lanes = figure.axes
    assert [label.get_text() for label in lanes.get_yticklabels()] == ["low", "owl"]
    assert sorted(patch.get_x() for patch in lanes.patches) == [0.5, 0.6, 2.0]  # type: ignore[attr-defined]
    (wrong,) = [patch for patch in lanes.patches if patch.get_hatch()]
    assert wrong.get_x() == 2.0  # type: ignore[attr-defined]
    assert top.get_ylabel() == "kHz"


def test_a_chorus_has_a_soundscape_for_every_recordist_and_another_table_none(tmp_path: Path) -> None:
    path = make_chorus(tmp_path / "chorus", clips=1)
    task = read_task(path)
    recordings = soundscapes_of(path, task)
    assert list(recordings) == [part.name for part in task.parts]
    for part in task.parts:
        (recordist,) = task.rows["recordist"].iloc[part.test.numpy()].unique()
        assert recordings[part.name].name == f"{recordist}_0.flac"
        assert len(read_songs(recordings[part.name])) > 0
    (path.parent / "chorus.json").unlink()
    assert soundscapes_of(path, task) == {}
