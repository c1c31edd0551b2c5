"""From selection tables to labelled stretches: nothing that was heard is lost, and nothing unheard is called silent."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.models.audio.load import AudioInfo, audio_info
from oscine.models.errors import OscineError
from oscine.probe.tasks.annotated import Annotated, annotated_task, cut_clips, read_annotated
from oscine.probe.tasks.groups import check_groups
from oscine.probe.tasks.selection_tables import COLUMNS, write_raven

RATE = 8_000
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


def annotated(*events: tuple[float, float, str], seconds: float = 10.0) -> Annotated:
    rows = [("a.wav", start, end, np.nan, np.nan, label, np.nan) for start, end, label in events]
    return Annotated(pd.DataFrame(rows, columns=COLUMNS), {"a.wav": AudioInfo(round(seconds * RATE), RATE, 1, "")})


def labels(*events: tuple[float, float, str]) -> list[list[str]]:
    return cut_clips(annotated(*events), 2.0)[0]["labels"].tolist()


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
    clips, _ = cut_clips(annotated(seconds=5.0), 2.0)
    assert clips[["start", "end"]].to_numpy().tolist() == [[0, 2], [2, 4], [4, 5]]
    assert cut_clips(annotated(seconds=4.0), 2.0)[0]["start"].tolist() == [0, 2]
    assert cut_clips(annotated(seconds=0.5), 2.0)[0][["start", "end"]].to_numpy().tolist() == [[0, 0.5]]


def test_a_label_needs_enough_of_its_annotation_in_a_stretch() -> None:
    assert labels((1.8, 2.2, "wren")) == [["wren"], ["wren"], [], [], []]  # half of it on each side
    assert labels((1.8, 4.1, "wren")) == [[], ["wren"], [], [], []]
    assert labels((3.0, 3.0, "click"), (3.0, 3.5, "wren"), (3.1, 3.6, "wren"))[1] == ["click", "wren"]


def test_every_annotation_labels_a_stretch() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        start = rng.uniform(0, 9)
        assert ["wren"] in labels((start, start + rng.uniform(0, 1), "wren"))


def test_stretches_of_which_somebody_was_unsure_are_left_out() -> None:
    events = (0.5, 1.0, "wren"), (2.5, 3.0, "?")
    clips, left_out = cut_clips(annotated(*events), 2.0, unsure=["?"])
    assert left_out == 1
    assert clips["start"].tolist() == [0, 4, 6, 8]
    assert clips["labels"].tolist() == [["wren"], [], [], []]


def test_stretches_with_an_annotation_without_a_label_are_left_out_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "north" / "1.txt").write_text("1.5\t1.6\twren\n2.5\t2.6\t\n")
    with caplog.at_level(logging.INFO):
        task = annotated_task(folder, seconds=1.0, folds=3)
    assert task.rows["start"].tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert task.classes == ["tit", "wren"]
    assert "1 of 4 annotations have no label: nobody knows what sounds there" in caplog.text
    assert (
        "3 recordings make 9 stretches of up to 1 s: 4 with labels, 4 in which no class sounds; 1 are left out as unsure"
        in caplog.text
    )


def test_a_table_without_selections_is_of_a_recording_without_songs(folder: Path) -> None:
    (folder / "north" / "2.txt").unlink()
    (folder / "north" / "2.Table.1.selections.txt").write_text(RAVEN.replace("\tSpecies", ""))
    assert [Path(path).name for path in read_annotated(folder).recordings] == ["0.wav", "1.wav", "2.wav"]


def test_tables_may_lie_in_a_folder_of_their_own(folder: Path) -> None:
    beside = annotated_task(folder, seconds=1.0, folds=3)
    (folder / "tables").mkdir()
    for path in (folder / "north").glob("*.txt"):
        path.rename(folder / "tables" / path.name)
    apart = annotated_task(folder, seconds=1.0, folds=3)
    assert apart.targets.tolist() == beside.targets.tolist()
    assert apart.rows.equals(beside.rows)


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        (
            "1.Table.1.selections.txt",
            RAVEN + "1\tS\t1\t0\t1\t0\t1\ttit\n2\tS\t1\t21\t22\t0\t1\ttit\n3\tS\t1\t31\t32\t0\t1\ttit\n",
            r"row 3 is of 21 to 22 s, but .*1.wav lasts 3 s \(2 such rows\); times count from its beginning: where several",
        ),
        ("1.txt", "0.1\t0.2\twren\n25\t26\twren\n", r"row 2 is of 25 to 26 s, but .*1.wav lasts 3 s; times count"),
        ("1.txt", "-2\t-1\twren\n", r"row 1 is of -2 to -1 s, but .*1.wav lasts 3 s; times count"),
        ("1.txt", "3.5\t3.5\tclick\n", r"row 1 is of 3.5 to 3.5 s, but .*1.wav lasts 3 s; times count"),
    ],
)
def test_annotations_outside_their_recording_are_refused(folder: Path, name: str, table: str, message: str) -> None:
    (folder / "north" / name).write_text(table)
    with pytest.raises(OscineError, match=f"{name}: {message}") as caught:
        annotated_task(folder, seconds=1.0, folds=3)
    assert "\n" not in str(caught.value)
    assert "or go on without such tables and their recordings: --skip-bad-tables" in str(caught.value)


def test_annotations_that_reach_beyond_are_cut_and_label_the_last_stretch(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "north" / "1.txt").write_text("2.9\t5.0\twren\n-1.0\t0.1\ttit\n3.0\t3.0\tclick\n")
    found = read_annotated(folder)
    mine = found.annotations[found.annotations["path"].str.endswith("1.wav")]
    assert mine[["start", "end"]].to_numpy().tolist() == [[2.9, 3.0], [0.0, 0.1], [3.0, 3.0]]
    clips, _ = cut_clips(found, 1.0)
    assert clips[clips["path"].str.endswith("1.wav")]["labels"].tolist() == [["tit"], [], ["click", "wren"]]
    assert "2 annotations reach beyond their recordings, by up to 2 s, and are cut there" in caplog.text


def test_a_point_at_the_end_that_was_rounded_is_within(folder: Path) -> None:
    (folder / "north" / "1.txt").write_text("3.000004\t3.000004\tclick\n2.999999\t3.000004\ttit\n")
    found = read_annotated(folder).annotations
    mine = found[found["path"].str.endswith("1.wav")]
    assert mine[["start", "end"]].to_numpy().tolist() == [[3.0, 3.0], [2.999999, 3.0]]


def test_a_bad_table_is_about_recordings_by_their_whole_names(folder: Path) -> None:
    soundfile.write(folder / "north" / "11.wav", np.zeros(3 * RATE), RATE)
    (folder / "all.txt").write_text(RAVEN.strip() + "\tBegin File\n1\tS\t1\tx\t1\t0\t1\ttit\tnorth/11.wav\n")
    found = read_annotated(folder, skip_bad_tables=True)
    assert [Path(path).name for path in found.recordings] == ["0.wav", "1.wav", "2.wav"]


def test_one_species_is_told_from_stretches_without_it(folder: Path) -> None:
    (folder / "north" / "0.Table.1.selections.txt").unlink()
    assert annotated_task(folder, seconds=1.0, folds=2).classes == ["wren"]
    (folder / "north" / "2.txt").unlink()
    with pytest.raises(OscineError, match=r"annotations of 1 class, which sounds in every stretch; a probe needs two"):
        annotated_task(folder, seconds=3.0, folds=2)


def test_every_bad_table_is_named_and_can_be_left_out_with_its_recordings(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "north" / "1.txt").write_text("no times\n")
    (folder / "all.txt").write_text(RAVEN.strip() + "\tBegin File\n1\tS\t1\tx\t1\t0\t1\ttit\t2.wav\n")
    with pytest.raises(
        OscineError, match=r"2 of 4 tables in .* cannot be used: \(1\) .*all.txt: .* \(2\) .*1.txt: "
    ) as caught:
        read_annotated(folder)
    assert "\n" not in str(caught.value)
    found = read_annotated(folder, skip_bad_tables=True)
    # 2.wav has an empty table of its own, but the bad one may say what sounds in it.
    assert [Path(path).name for path in found.recordings] == ["0.wav"]
    assert set(found.annotations["path"]) == set(found.recordings)
    assert caplog.text.count("left out, with its recordings: ") == 2
    (folder / "north" / "0.Table.1.selections.txt").unlink()
    with pytest.raises(OscineError, match=r"no annotations in .* that can be used; expected"):
        read_annotated(folder, skip_bad_tables=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_among_the_tables_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    assert len(read_annotated(folder).recordings) == 3


def test_a_folder_without_annotations_gets_a_clear_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(OscineError, match=r"no annotations in .*; expected Raven or Audacity tables"):
        read_annotated(tmp_path)
    (tmp_path / "a.txt").write_text("0.1\t0.2\twren\n")
    with pytest.raises(
        OscineError, match="has annotations of 1 class, which sounds in every stretch; a probe needs two"
    ):
        annotated_task(tmp_path, 1.0)


def test_scores_of_a_classifier_are_said_and_taken_as_labels(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = "have a score, as a classifier writes it: they are taken as labels that somebody has checked"
    read_annotated(folder)
    assert said not in caplog.text
    rows = "1\tSpectrogram 1\t1\t0.5\t0.9\t100\t200\twren\t0.71\n2\tSpectrogram 1\t1\t0.6\t2.6\t1\t200\ttit\t\n"
    table = folder / "north" / "0.Table.1.selections.txt"
    for name in ("Score", "Confidence", "confidence"):
        caplog.clear()
        table.write_text(f"{RAVEN.strip()}\t{name}\n{rows}")
        assert len(read_annotated(folder).annotations) == 3
        assert f"1 of 3 annotations {said}" in caplog.text


def test_detections_of_ours_are_read_back_and_said_to_be_scored(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    recording = str(folder / "north" / "3.wav")
    found = pd.DataFrame([(recording, 0.5, 1.0, 100.0, 200.0, "wren", 0.75)], columns=COLUMNS)
    write_raven(folder / "north" / "3.txt", found, {recording: audio_info(recording)})
    rows = read_annotated(folder).annotations
    assert rows[rows["path"] == recording]["score"].tolist() == [0.75]
    assert "1 of 4 annotations have a score" in caplog.text


@pytest.mark.parametrize("blank", ["Annotation", "Species"])
def test_of_columns_that_may_hold_labels_a_blank_one_gives_way(folder: Path, blank: str) -> None:
    """Raven keeps a column that somebody made and never filled in."""
    other = {"Annotation": "Species", "Species": "Annotation"}[blank]
    rows = "1\tSpectrogram 1\t1\t0.5\t0.9\t100\t200\t{}\n"
    table = folder / "north" / "0.Table.1.selections.txt"
    header = RAVEN.strip().replace("Species", other)
    table.write_text(f"{header}\t{blank}\t\n{rows.format('wren' + chr(9) + chr(9))}")
    assert read_annotated(folder).annotations["label"].tolist() == ["wren", "wren"]
    table.write_text(f"{header.replace(other, blank)}\t{other}\n{rows.format(chr(9) + 'wren')}")
    assert read_annotated(folder).annotations["label"].tolist() == ["wren", "wren"]
