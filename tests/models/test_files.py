"""Files that are put in place of others, sizes in words, and files that a wrong name means."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from oscine.models import files
from oscine.models.files import bytes_in_words, did_you_mean, put, similar_path, write_whole


def test_bytes_are_said_in_the_unit_that_fits():
    counts = (0, 999, 2000, 3_500_000, 7 * 10**9, 1.5 * 10**12)
    assert [bytes_in_words(count) for count in counts] == [
        "0 bytes",
        "999 bytes",
        "2.0 kB",
        "3.5 MB",
        "7.0 GB",
        "1.5 TB",
    ]


@pytest.fixture(params=["posix", "windows"])
def system(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_file_that_is_open_for_a_moment_is_replaced_on_windows_all_the_same(system, tmp_path, monkeypatch):
    part, place, refused = tmp_path / "part", tmp_path / "place", []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if len(refused) < 2:
            refused.append(target)
            raise PermissionError(13, "it is being used by another process")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files, "WINDOWS", system == "windows")
    part.write_bytes(b"new")
    if system == "windows":
        put(part, place)
        assert place.read_bytes() == b"new"
    else:
        with pytest.raises(PermissionError):
            put(part, place)


def test_what_stays_open_is_an_error_that_leaves_nothing_half(tmp_path, monkeypatch):
    def replace(source: Path, target: Path) -> None:
        raise PermissionError(13, "it is being used by another process")

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(PermissionError):
        write_whole(tmp_path / "place", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_path_is_told_which_one_is_meant(tmp_path, monkeypatch):
    (tmp_path / "recordings/night").mkdir(parents=True)
    (tmp_path / "recordings/night/kitchen.wav").touch()
    for name in ("labels.csv", "b.wav"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert did_you_mean("lables.csv") == "did you mean labels.csv?"
    assert did_you_mean(tmp_path / "recrodings") == f"did you mean {tmp_path}/recordings?"
    assert similar_path("recrodings/nigth/kitchn.wav") == Path("recordings/night/kitchen.wav")
    assert did_you_mean("recrodings/noon/kitchen.wav", "look again") == "look again"
    assert did_you_mean("lables.cvs") == "did you mean labels.csv?"
    assert did_you_mean("label.json") == did_you_mean("k.wav") == "check the path", "near in stem or suffix alone"
    assert did_you_mean("labels.csv/0") == did_you_mean("nothing/at/all") == "check the path"
    assert did_you_mean("labels.csv") == "check the path", "it is there"


def test_a_recording_of_another_number_is_not_the_one_that_is_meant(tmp_path):
    for name in ("20240503_050000.wav", "3.wav", "plot_01.mp3"):
        (tmp_path / name).touch()
    (tmp_path / "night2").mkdir()
    (tmp_path / "night2/owl.wav").touch()
    for name in ("20240503_060000.wav", "13.wav", "plot_02.mp3", "plot_.mp3", "night1/owl.wav"):
        assert similar_path(tmp_path / name) is None, name
    assert similar_path(tmp_path / "20240503-050000.wav") == tmp_path / "20240503_050000.wav"
    assert similar_path(tmp_path / "plott_1.mp4") == tmp_path / "plot_01.mp3"
    assert similar_path(tmp_path / "nigth2/owl.wav") == tmp_path / "night2/owl.wav"


def test_a_link_to_nothing_is_no_path_that_is_meant(tmp_path):
    for one in ("labels.csv", "lables.csv"):
        (tmp_path / one).symlink_to(tmp_path / "gone")
    assert similar_path(tmp_path / "labels.csv") is None


def test_of_very_many_names_only_some_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ENTRIES", 0)
    (tmp_path / "labels.csv").touch()
    assert similar_path(tmp_path / "lables.csv") is None
