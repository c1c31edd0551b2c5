"""A manifest says which recordings, and which stretches of them, clips are cut from; a bad one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models.errors import OscineError
from oscine.pretrain.data.clips import ClipDataset, readable
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.data.sources import find_source, read_manifest
from oscine.pretrain.data.spans import Span, split_spans

RATE = 8000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.wav: a second each of 0.1, 0.2, 0.3 and 0.4; b.wav: half a second of 0.5."""
    soundfile.write(tmp_path / "a.wav", np.repeat([0.1, 0.2, 0.3, 0.4], RATE), RATE)
    (tmp_path / "below").mkdir()
    soundfile.write(tmp_path / "below" / "b.wav", np.full(RATE // 2, 0.5), RATE)
    return tmp_path


def manifest(folder: Path, text: str, name: str = "m.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def levels(path: Path, clips: int = 40) -> set[float]:
    """What is heard in clips of half a second."""
    made = ClipDataset(find_source(path), RATE, RATE // 2, lambda generator: torch.zeros(1, 1))
    return {round(level, 1) for number in range(clips) for level in made[number].waveform.unique().tolist()}


def test_clips_are_cut_from_the_stretches_of_a_manifest_alone(folder: Path) -> None:
    assert levels(manifest(folder, "path,start,end,label\na.wav,1,2,x\na.wav,3.5,,y\n")) == {0.2, 0.4}


def test_without_times_a_manifest_is_a_list_of_recordings(folder: Path) -> None:
    source = read_manifest(manifest(folder, "path\nbelow/b.wav\na.wav\n"))
    assert list(source.spans()) == [Span(0, 0.0, 0.5), Span(1, 0.0, 4.0)]


def test_start_and_end_may_be_left_empty(folder: Path) -> None:
    source = read_manifest(manifest(folder, "path,start,end\na.wav,,1.5\na.wav,2.5,\nbelow/b.wav,,\n"))
    assert list(source.spans()) == [Span(0, 0.0, 1.5), Span(0, 2.5, 4.0), Span(1, 0.0, 0.5)]


def test_parquet_gives_the_same_as_csv(folder: Path) -> None:
    text = manifest(folder, f"path,end\na.wav,1.5\n{folder / 'below' / 'b.wav'},\n")
    pd.read_csv(text).to_parquet(folder / "m.parquet")
    assert list(read_manifest(folder / "m.parquet").spans()) == list(read_manifest(text).spans())


def test_a_clip_longer_than_its_stretch_does_not_hear_what_follows(folder: Path) -> None:
    assert levels(manifest(folder, "path,start,end\na.wav,1.9,2\n")) == {0.0, 0.2}


def test_a_long_stretch_counts_as_often_as_a_clip_fits_in(folder: Path) -> None:
    parts = split_spans(readable(read_manifest(manifest(folder, "path,start\na.wav,1\n")), 0.05), 0.9)
    assert parts["start"].tolist() == [1, 2, 3]
    assert parts["seconds"].tolist() == [1, 1, 1]


def test_an_end_beyond_the_recordings_is_the_recordings_end(folder: Path) -> None:
    assert list(read_manifest(manifest(folder, "path,end\nbelow/b.wav,9\n")).spans()) == [Span(0, 0.0, 0.5)]


def test_a_stretch_that_begins_after_the_recording_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = read_manifest(manifest(folder, "path,start\nbelow/b.wav,2\na.wav,3\n"))
    assert readable(source, 0.05) == [Span(1, 3.0, 4.0)]
    assert "b.wav: lasts 0.500 s and has no stretch from 2 s" in caplog.text


def test_a_name_that_looks_like_a_number_is_a_name(folder: Path) -> None:
    (folder / "a.wav").rename(folder / "007")
    assert read_manifest(manifest(folder, "path\n007\n")).paths == [folder / "007"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("what,start\na,1\n", r"m\.csv has no column path; it has what, start"),
        ("path\n", r"m\.csv has no rows"),
        ("path,end\n\"\",1\n", r"row 2 \(\) has no path"),
        ("path\na.wav\nc.wav\nd.wav\n", r"2 of its 3 recordings do not exist, such as .*c\.wav.*; paths are relative to"),
        ("path,start,end\na.wav,0,1\na.wav,3,2\n", r"row 3 \(a\.wav\) has an end that is not after its start"),
        ("path,end\na.wav,0\na.wav,-1\n", r"row 2 \(a\.wav\) has an end that is not after its start \(2 such rows\)"),
        ("path,start\na.wav,-1\n", r"row 2 \(a\.wav\) has a start before 0 s"),
        ("path,start\na.wav,soon\n", r"row 2 \(a\.wav\) has the start 'soon', expected a number of seconds"),
        ("path,end\na.wav,inf\n", r"row 2 \(a\.wav\) has the end 'inf', expected a number of seconds"),
        ("", r"has no rows"),
    ],
)  # fmt: skip
def test_a_bad_manifest_is_refused_in_one_line(text: str, complaint: str, folder: Path) -> None:
    with pytest.raises(OscineError, match=complaint) as raised:
        read_manifest(manifest(folder, text))
    assert "\n" not in str(raised.value)


def test_a_manifest_that_is_not_there_is_said_before_a_run_begins(folder: Path) -> None:
    with pytest.raises(OscineError, match=r"no table .*none\.csv"):
        PretrainingData(folder / "none.csv")
