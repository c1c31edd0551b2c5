"""Names and paths that Windows does not take, said on any system."""

from __future__ import annotations

import ntpath
from pathlib import Path

import pytest

from oscine.models import files
from oscine.models.audio.load import AudioError, load_audio
from oscine.models.embed.table import writing
from oscine.models.errors import OscineError
from oscine.models.files import check_name, common_folder, why_too_long


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hf-hub:owner", "no ':' may stand"), ("b?", r"no '\?' may stand"), ("tab\there", "may stand"), ("end.", "end in"),
        ("a ", "end in"), ("NUL", "NUL is a device"), ("aux.txt", "aux.txt is a device"), ("com1", "device"),
    ],
)  # fmt: skip
def test_a_name_that_no_folder_can_have_on_windows_is_refused(name, reason):
    with pytest.raises(OscineError, match=reason):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "better"), [("..", "run_1"), (".", "run_1"), ("", "run_1"), ("site 1/bat", "bat"), ("..\\other", "other")]
)
def test_a_path_is_no_name(name, better):
    with pytest.raises(OscineError, match=f"is a path, expected the name of one folder, such as '{better}'"):
        check_name(name)


@pytest.mark.parametrize("name", ["bat_tiny", "site 1", "bat.2", "console", "Rotkehlchen-Łąka", "com10"])
def test_any_other_name_is_taken(name):
    assert check_name(name) == name


def test_a_path_that_is_too_long_for_windows_is_the_reason_there(monkeypatch, tmp_path):
    path = tmp_path.joinpath(*["folder" * 8] * 6, "birds.wav")
    assert why_too_long(path) == ""
    with pytest.raises(AudioError, match="there is no such file"):
        load_audio(path, 16_000)
    monkeypatch.setattr(files, "WINDOWS", True)
    with pytest.raises(AudioError, match=r"its path has \d+ characters, and Windows takes 259; move it"):
        load_audio(path, 16_000)
    with pytest.raises(OscineError, match=r"could not be written \(its path has \d+ characters"), writing(path):
        raise FileNotFoundError(2, "The system cannot find the path specified")
    assert why_too_long(Path("birds.wav")) == ""


def test_files_of_several_drives_have_no_folder_in_common(monkeypatch):
    assert common_folder(["/a/b/c.wav", "/a/d.wav"]) == "/a"
    with monkeypatch.context() as windows:
        windows.setattr(files.os, "path", ntpath)
        same = common_folder([r"C:\a\b\c.wav", r"c:\a\d.wav"])
        several = common_folder([r"C:\a\c.wav", r"D:\a\c.wav"])
    assert (same.lower(), several) == (r"c:\a", "")
