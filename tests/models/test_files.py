"""Locks that hold on either kind of system, and files that are put in place of others."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from oscine.models import files
from oscine.models.errors import OscineError
from oscine.models.files import hold, put, seize, share, wait_for, write_whole
from tests.forked import FORK, PATIENCE


def lock_as_windows(number: int, mode: int, count: int) -> None:
    """msvcrt's locking, of an open file's bytes from where it stands: Linux has locks of open files, too."""
    writes = fcntl.fcntl(number, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR)
    kind = fcntl.F_WRLCK if writes else fcntl.F_RDLCK
    begin = os.lseek(number, 0, os.SEEK_CUR)
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, begin, count, 0))
    except BlockingIOError as error:
        raise PermissionError(*error.args) from None


@pytest.fixture(params=["posix", "windows"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "windows":
        monkeypatch.setattr(files, "fcntl", None)
        monkeypatch.setattr(files, "msvcrt", SimpleNamespace(locking=lock_as_windows, LK_NBLCK=2))
    return request.param


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def in_another_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """What work returns there, or the error that it raises."""
    here, there = FORK.Pipe()

    def answer() -> None:
        try:
            there.send(work(*arguments) and None)
        except Exception as error:
            there.send(error)

    process = FORK.Process(target=answer)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    return here.recv()


def test_one_process_alone_holds_a_lock_until_it_closes_it(lock):
    with hold(lock, "writing it", "name"):
        error = in_another_process(hold, lock, "writing it", "name")
        assert isinstance(error, OscineError)
        assert str(error) == "another process is writing it; wait for it, or choose another name"
    assert in_another_process(hold, lock, "writing it", "name") is None


def test_whoever_dies_holds_nothing(lock):
    here, there = FORK.Pipe()

    def hold_on() -> None:
        held = hold(lock, "writing it", "name")
        there.send(held.fileno())
        time.sleep(60)

    process = FORK.Process(target=hold_on)
    process.start()
    here.recv()
    with pytest.raises(OscineError):
        hold(lock, "writing it", "name")
    process.kill()
    process.join()
    hold(lock, "writing it", "name").close()


def test_who_waits_for_a_lock_gets_it_when_it_is_free(lock):
    held = hold(lock, "writing it", "name")
    process = FORK.Process(target=lambda: (held.close(), wait_for(lock).close()))
    process.start()
    process.join(0.5)
    assert process.is_alive()
    held.close()
    process.join(PATIENCE)
    assert process.exitcode == 0


def test_any_number_share_what_nobody_may_seize_meanwhile(lock):
    shared = [share(lock) for _ in range(20)]
    assert None not in shared
    for file in shared:
        assert seize(lock) is None
        file.close()
    seized = seize(lock)
    assert seized is not None
    assert seize(lock) is None
    seized.close()


def test_who_shares_waits_until_what_was_seized_is_free(lock):
    lock.touch()
    seized, got = seize(lock), []
    thread = Thread(target=lambda: got.append(share(lock)))
    thread.start()
    thread.join(0.3)
    assert not got
    seized.close()
    thread.join(PATIENCE)
    assert got[0] is not None
    got[0].close()


def test_without_any_locks_nothing_is_seized_and_work_goes_on(lock, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "msvcrt", None)
    assert share(lock) is None
    assert seize(lock) is None
    with hold(lock, "writing it", "name"), hold(lock, "writing it", "name"), wait_for(lock):
        pass


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
