"""Snippets that BirdNET-Analyzer's review has sorted say of clips what was heard, and nothing of other classes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from oscine.models.errors import OscineError
from oscine.probe.label.journal import ABSENT, PRESENT, Clip, read_journal
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.queue.filled import FilledSettings, ReadQueue, read_filled
from tests.probe.label.conftest import make_table


def snippets(folder: Path, *places: str) -> Path:
    for place in places:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def read(path: Path, table: ClipTable) -> dict[Clip, dict[str, str]]:
    labels = path / "labels"
    settings = FilledSettings(table, labels, "anna", classes=["robin", "wren"])
    came = read_filled([path / "reviewed"], settings)
    answers = read_journal(labels / "anna.jsonl").answers
    assert came == ReadQueue(len(answers), 0, 0)
    return {one.clip: one.states for one in answers}


def test_detections_say_of_clips_what_can_be_said_of_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Clips of five seconds: 0 to 5, 5 to 10 and 10 to 15 of every recording."""
    snippets(
        tmp_path / "reviewed",
        "robin/Positive/0.945_1_3_6.0s_9.0s.wav",  # in the second clip
        "robin/Positive/0.812_2_3_3.0s_6.0s.wav",  # over the edge of two clips
        "robin/Negative/0.300_3_4_0.0s_10.0s.wav",  # two whole clips
        "robin/Negative/0.200_4_5_6.0s_9.0s.wav",  # of the rest of the clip nobody knows
        "wren/Positive/0.700_1_3_5.0s_10.0s.flac",
        "wren/0.500_2_4_0.0s_5.0s.wav",  # not reviewed yet
        "wren/Positive/notes.txt",
    )
    with caplog.at_level(logging.WARNING):
        states = read(tmp_path, make_table(90))
    assert states == {
        Clip("wood/3.wav", 5.0, 10.0): {"robin": PRESENT, "wren": PRESENT},
        Clip("wood/4.wav", 0.0, 5.0): {"robin": ABSENT},
        Clip("wood/4.wav", 5.0, 10.0): {"robin": ABSENT},
    }
    assert "2 snippets tell of no clip of birds.parquet, such as 0.812_2_3_3.0s_6.0s.wav; left out" in caplog.text


def test_the_folder_of_one_species_is_enough(tmp_path: Path) -> None:
    snippets(tmp_path / "reviewed/wren", "Negative/0.300_3_4_0.0s_5.0s.wav")
    settings = FilledSettings(make_table(), tmp_path / "labels", "anna")
    assert read_filled([tmp_path / "reviewed/wren"], settings).taken == 1


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["robin/Positive/0.945_1_soundscape.wav"], r"0.945_1_soundscape.wav does not name its recording and times"),
        (["wrn/Positive/0.945_1_3_5.0s_10.0s.wav"], r"reviewed: anna named wrn \(did you mean wren\?\)"),
        (
            ["wren/Positive/0.9_1_3_5.0s_10.0s.wav", "wren/Negative/0.8_2_3_5.0s_10.0s.wav"],
            r"wren in wood/3.wav from 5 s is Positive and Negative",
        ),
        (["wren/Positive/notes.txt"], r"reviewed has no snippets; expected some in SPECIES/Positive"),
    ],
)
def test_what_cannot_be_read_is_a_line(places: list[str], said: str, tmp_path: Path) -> None:
    snippets(tmp_path / "reviewed", *places)
    with pytest.raises(OscineError, match=said):
        read(tmp_path, make_table())
    assert not (tmp_path / "labels").exists()


def test_a_snippet_of_recordings_that_are_called_alike_is_refused(tmp_path: Path) -> None:
    table = make_table(6)
    table.clips[3:] = [Clip("hill/0.wav", *clip[1:]) for clip in table.clips[3:]]
    snippets(tmp_path / "reviewed", "wren/Positive/0.9_1_0_5.0s_10.0s.wav")
    with pytest.raises(OscineError, match=r"may be of wood/0.wav or hill/0.wav in birds.parquet; give recordings"):
        read(tmp_path, table)
