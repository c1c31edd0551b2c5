"""Files that are put in place of others, and sizes in words."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from oscine.models import files
from oscine.models.files import bytes_in_words, put, write_whole


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
