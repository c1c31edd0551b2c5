"""Folders of recordings, and the one line that is said of each that does not fit."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from oscine.models.audio.scan import find_recordings, find_tabled, scan_folder
from oscine.models.errors import OscineError
from oscine.models.recordings.audioset import is_audioset
from oscine.models.recordings.birdset import is_birdset
from oscine.models.recordings.inputs import find_inputs


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_recordings_are_found_in_the_order_of_their_names_nested_and_upper_case(tmp_path: Path) -> None:
    names = ["a-b.wav", "a/20240501_043000.WAV", "a/b/c.Flac", "b.mp3", "c.opus", "d.W64", "ä b.ogg"]
    touch(*(tmp_path / name for name in names), tmp_path / "notes.txt", tmp_path / "._b.wav", tmp_path / ".trash/e.wav")
    assert [path.relative_to(tmp_path).as_posix() for path in find_recordings(tmp_path)] == names


def test_a_loop_of_links_ends_and_each_folder_is_entered_once(tmp_path: Path) -> None:
    touch(tmp_path / "z/real.wav", tmp_path / "z/deep/er.wav")
    (tmp_path / "z/deep/up").symlink_to(tmp_path)
    (tmp_path / "a_link").symlink_to(tmp_path / "z")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    names = [path.relative_to(tmp_path).as_posix() for path in find_recordings(tmp_path)]
    assert names == ["z/deep/er.wav", "z/real.wav"]


def test_links_out_of_the_folder_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere/a.wav")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/disk").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here/gone.wav").symlink_to(tmp_path / "nothing.wav")
    names = [path.name for path in find_recordings(tmp_path / "here")]
    assert names == ["a.wav", "gone.wav"], "a link to nothing is kept, so that reading it can say so"


def test_a_pipe_is_no_recording(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    assert find_recordings(tmp_path) == [tmp_path / "a.wav"]


def test_what_cannot_be_used_is_handed_back_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "a.wav", tmp_path / "b.M4A", tmp_path / "locked/c.wav")
    listing = Path.iterdir

    def guarded(path: Path) -> object:  # a mode of 000 does not stop root
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", guarded)
    found = scan_folder(tmp_path)
    assert found.recordings == [tmp_path / "a.wav"]
    assert "M4A files are not read; convert it to WAV or FLAC" in found.refused[tmp_path / "b.M4A"]
    assert "Permission denied" in found.refused[tmp_path / "locked"]
    with caplog.at_level(logging.WARNING):
        assert find_recordings(tmp_path) == found.recordings
    assert len(caplog.records) == 2


def test_a_folder_that_is_missing_a_file_or_empty_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"no folder .*nowhere"):
        find_recordings(tmp_path / "nowhere")
    touch(tmp_path / "a.txt")
    with pytest.raises(OscineError, match=r"a\.txt is a file, expected a folder"):
        find_recordings(tmp_path / "a.txt")
    with pytest.raises(OscineError, match=r"no recordings in .* looked for .*\.flac.*\.wav"):
        find_recordings(tmp_path)
    touch(tmp_path / "a.m4a")
    with pytest.raises(OscineError, match=r"1 of its entries cannot be used, such as .*a\.m4a"):
        find_recordings(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 or UTF-16 there")
def test_a_name_that_no_table_can_hold_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path / "a.wav", tmp_path / os.fsdecode(b"pl\xe4tze.wav"))
    assert [path.name for path in find_tabled(tmp_path)] == ["a.wav"]
    assert "1 recording has a name that is no UTF-8, such as" in caplog.text
    assert "pl\\xe4tze.wav; left out until renamed" in caplog.text
    (tmp_path / "a.wav").unlink()
    with pytest.raises(OscineError, match=r"no recordings in .* with a name in UTF-8; rename them"):
        find_tabled(tmp_path)


def test_a_folder_that_may_not_be_entered_is_one_line_in_every_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "locked/a.wav")
    status = Path.stat

    def guarded(path: Path, **how: bool) -> os.stat_result:  # a mode of 000 does not stop root
        if "locked" in path.parent.parts:
            raise PermissionError(13, "Permission denied")
        return status(path, **how)

    monkeypatch.setattr(Path, "stat", guarded)
    for read in (scan_folder, find_inputs, is_birdset, is_audioset):
        for path in (tmp_path / "locked", tmp_path / "locked/a.wav"):
            with pytest.raises(OscineError, match=rf"{path.name} may not be read; give yourself permission to read it"):
                read(path)
