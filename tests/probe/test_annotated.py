"""From selection tables to labelled stretches: nothing that was heard is lost, and nothing unheard is called silent."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.models.audio import AudioInfo
from oscine.models.errors import OscineError
from oscine.probe.annotated import Annotated, annotated_task, cut_clips, read_annotated
from oscine.probe.annotations import COLUMNS
from oscine.probe.groups import check_groups

RATE = 8_000
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


def annotated(*events: tuple[float, float, str], seconds: float = 10.0) -> Annotated:
    rows = [("a.wav", start, end, np.nan, np.nan, label, np.nan) for start, end, label in events]
    return Annotated(pd.DataFrame(rows, columns=COLUMNS), {"a.wav": AudioInfo(round(seconds * RATE), RATE, 1, "")})


def labels(*events: tuple[float, float, str], **settings: object) -> list[list[str]]:
    return cut_clips(annotated(*events), 2.0, **settings)["labels"].tolist()  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        (tmp_path / "north").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "north" / f"{number}.wav", np.zeros(3 * RATE), RATE)
    rows = "1\tSpectrogram 1\t1\t0.5\t0.9\t100\t200\twren\n2\tSpectrogram 1\t1\t0.6\t2.6\t100\t200\ttit\n"
    (tmp_path / "north" / "0.Table.1.selections.txt").write_text(RAVEN + rows)
    (tmp_path / "north" / "1.txt").write_text("1.5\t1.6\twren\n")
    (tmp_path / "north" / "2.txt").touch()  # listened to, nothing heard
    (tmp_path / "notes.txt").write_text("a fine morning\n")
    return tmp_path


def test_a_folder_with_tables_becomes_a_task(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        task = annotated_task(folder, seconds=1.0, folds=3)
    assert task.classes == ["tit", "wren"]
    assert task.targets.tolist() == [[1, 1], [1, 0], [1, 0], [0, 0], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert len(task.parts) == 3
    check_groups(task.rows, task.parts)
    assert "1 of 4 recordings have no annotations and are left out" in caplog.text
    assert "notes.txt is no selection table" in caplog.text


def test_recordings_that_nobody_listened_to_are_not_silent(folder: Path) -> None:
    assert [Path(path).name for path in read_annotated(folder).recordings] == ["0.wav", "1.wav", "2.wav"]


def test_stretches_cover_the_recording_and_the_last_is_what_is_left() -> None:
    clips = cut_clips(annotated(seconds=5.0), 2.0)
    assert clips[["start", "end"]].to_numpy().tolist() == [[0, 2], [2, 4], [4, 5]]
    assert cut_clips(annotated(seconds=4.0), 2.0)["start"].tolist() == [0, 2]
    assert cut_clips(annotated(seconds=4.5), 2.0, hop=1.0)["start"].tolist() == [0, 1, 2, 3]
    assert cut_clips(annotated(seconds=0.5), 2.0)[["start", "end"]].to_numpy().tolist() == [[0, 0.5]]


def test_a_label_needs_enough_of_its_annotation_in_a_stretch() -> None:
    assert labels((1.8, 2.2, "wren")) == [["wren"], ["wren"], [], [], []]  # half of it on each side
    assert labels((1.8, 4.1, "wren")) == [[], ["wren"], [], [], []]
    assert labels((1.8, 4.1, "wren"), overlap=0.1) == [["wren"], ["wren"], ["wren"], [], []]
    assert labels((3.0, 3.0, "click"), (3.0, 3.5, "wren"), (3.1, 3.6, "wren"))[1] == ["click", "wren"]


def test_every_annotation_labels_a_stretch() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        start = rng.uniform(0, 9)
        assert ["wren"] in labels((start, start + rng.uniform(0, 1), "wren"))


def test_stretches_of_which_somebody_was_unsure_are_left_out() -> None:
    events = (0.5, 1.0, "wren"), (2.5, 3.0, "?")
    clips = cut_clips(annotated(*events), 2.0, unsure=["?"])
    assert clips["start"].tolist() == [0, 4, 6, 8]
    assert clips["labels"].tolist() == [["wren"], [], [], []]


def test_a_folder_without_annotations_gets_a_clear_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(OscineError, match=r"no annotations in .*; expected Raven or Audacity tables"):
        read_annotated(tmp_path)
    (tmp_path / "a.txt").write_text("0.1\t0.2\twren\n")
    with pytest.raises(OscineError, match="has annotations of 1 class; a probe needs at least two"):
        annotated_task(tmp_path, 1.0)
