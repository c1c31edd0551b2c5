"""Locks between processes: who holds one is named, whoever dies holds none, what is shared is not seized."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import filelock
import pytest

from oscine.models import locks
from oscine.models.errors import OscineError
from oscine.models.locks import lock_exclusive, lock_output, lock_shared, lock_wait, try_lock
from tests.forked import FORK, PATIENCE


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def alone(lock: Path) -> locks.Lock:
    return lock_exclusive(lock, "writing it", "choose another name")


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


def test_who_comes_second_learns_who_has_the_lock_and_since_when(lock):
    with alone(lock):
        error = in_another_process(alone, lock)
        assert isinstance(error, OscineError)
        said = (
            rf"process {os.getpid()} on '{socket.gethostname()}' \(since \d{{4}}-.*\) is writing it; wait for it, or "
        )
        with pytest.raises(OscineError, match=said):
            raise error
        assert "\n" not in str(error)
    assert in_another_process(lambda: alone(lock).close()) is None
    assert not list(lock.parent.iterdir()), "the lock leaves nothing"


@pytest.mark.parametrize("record", [b"", b"[]", b'{"host": 1, "process": 2, "since": 3}', b"[" * 9999, b"\xff"])
def test_a_damaged_record_of_who_has_the_lock_is_no_error_of_its_own(lock, record):
    with alone(lock):
        (lock.parent / "lock.json").write_bytes(record)
        error = in_another_process(alone, lock)
        assert str(error) == "another process is writing it; wait for it, or choose another name"


def test_whoever_dies_holds_nothing_though_what_it_forked_lives_on(lock):
    here, there = FORK.Pipe()

    def hold_on() -> None:
        held = alone(lock)
        if not os.fork():
            time.sleep(3)
            os._exit(0)
        there.send(bool(held))
        time.sleep(PATIENCE)

    process = FORK.Process(target=hold_on)
    process.start()
    here.recv()
    with pytest.raises(OscineError):
        alone(lock)
    process.kill()
    process.join()
    alone(lock).close()


def test_who_waits_for_a_lock_says_for_whom_and_gets_it_when_it_is_free(lock, caplog):
    caplog.set_level(logging.INFO, "oscine")
    holder = FORK.Process(target=lambda: (alone(lock), time.sleep(1), os._exit(0)))
    holder.start()
    while not (lock.parent / "lock.json").exists():
        time.sleep(0.01)
    begin = time.monotonic()
    lock_wait(lock, "encoding").close()
    assert time.monotonic() - begin > 0.3
    assert f"waiting for process {holder.pid} on" in caplog.text
    assert "which is encoding" in caplog.text
    holder.join()


def in_a_thread(work: Callable[[], object]) -> Thread:
    thread = Thread(target=work)
    thread.start()
    return thread


def test_a_record_of_another_machine_that_never_ended_is_said(lock, caplog):
    (lock.parent / "lock.json").write_text(json.dumps({"host": "gpu7", "process": 12, "since": "yesterday"}))
    alone(lock).close()
    assert "process 12 on 'gpu7' (since yesterday) was writing it and did not say that it ended" in caplog.text
    assert "the locks of this disk do not reach it" in caplog.text


def test_any_number_share_what_nobody_may_seize_meanwhile(lock):
    shared = [lock_shared(lock) for _ in range(20)]
    assert None not in shared
    for one in shared:
        begin = time.monotonic()
        assert try_lock(lock) is None
        assert time.monotonic() - begin < 1, "who tries does not wait"
        one.close()
    seized = try_lock(lock)
    assert seized is not None
    assert try_lock(lock) is None
    seized.close()


def test_what_another_process_shares_is_not_seized_until_it_dies(lock):
    here, there = FORK.Pipe()
    process = FORK.Process(target=lambda: (lock_shared(lock), there.send(True), time.sleep(PATIENCE)))
    process.start()
    here.recv()
    assert try_lock(lock) is None
    process.kill()
    process.join()
    seized = try_lock(lock)
    assert seized is not None
    seized.close()


def test_who_shares_waits_until_what_was_seized_is_free(lock):
    seized, got = try_lock(lock), []
    thread = in_a_thread(lambda: got.append(lock_shared(lock)))
    thread.join(0.3)
    assert not got
    seized.close()
    thread.join(PATIENCE)
    assert got[0] is not None
    got[0].close()


def test_what_is_dropped_is_no_longer_shared_whichever_thread_drops_it(lock):
    shared = [lock_shared(lock), lock_shared(lock)]
    in_a_thread(lambda: shared.pop().close()).join()
    shared.pop()
    seized = try_lock(lock)
    assert seized is not None
    seized.close()


def test_a_disk_without_locks_is_said_and_work_goes_on(lock, monkeypatch, caplog):
    def acquire(*_: Any, **__: Any) -> None:
        raise OSError(locks.NO_LOCKS[0], "no locks here")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with alone(lock), alone(lock), lock_wait(lock, "writing it"):
        pass
    assert f"no locks on the disk of {lock}: let no other process be writing it" in caplog.text
    assert lock_shared(lock.parent / "none" / "lock") is None
    assert try_lock(lock.parent / "none" / "lock") is None


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_system_without_locks_is_said_in_one_line_and_leaves_no_file(lock, monkeypatch, caplog, number):
    def flock(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", flock)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with alone(lock):
            assert not list(lock.parent.iterdir()), "a file would outlive whoever is killed"
    assert caplog.messages == [f"no locks on the disk of {lock}: let no other process be writing it at the same time"]


def test_an_output_is_written_by_one_process_and_left_as_it_is(tmp_path, monkeypatch):
    run = tmp_path / "runs" / "birds"
    with lock_output(run, "choose another --name"):
        assert not run.exists()
        refused = pytest.raises(OscineError, match=r"is writing .*birds; wait for it, or choose another --name")
        with refused, lock_output(run, "choose another --name"):
            pass
        with lock_output(run.with_name("others"), "choose another --name"):
            pass
    assert not list(run.parent.iterdir())
    monkeypatch.chdir(tmp_path / "runs")
    with lock_output(Path(), "choose another --name"):  # the folder that one is in
        assert (tmp_path / ".runs.lock").exists()
    (tmp_path / "file").touch()
    refused = pytest.raises(OscineError, match=r"file/birds cannot be written: .*; make room, or choose another --name")
    with refused, lock_output(tmp_path / "file" / "birds", "choose another --name"):
        pass


def test_who_waits_for_a_lock_whose_file_is_deleted_holds_one_that_others_see(lock):
    held, (here, there) = alone(lock), FORK.Pipe()

    def wait_for_it() -> None:
        waited = lock_wait(lock, "writing it")
        there.send(bool(waited))
        time.sleep(PATIENCE)

    process = FORK.Process(target=wait_for_it)
    process.start()
    time.sleep(0.3)
    held.close()
    here.recv()
    with pytest.raises(OscineError, match=f"process {process.pid} "):
        alone(lock)
    process.kill()
    process.join()
    alone(lock).close()


def test_a_process_that_was_forked_frees_no_lock_of_its_parent(lock):
    with alone(lock) as held:
        assert in_another_process(held.close) is None
        assert lock.exists()
        assert isinstance(in_another_process(alone, lock), OscineError)


@pytest.mark.parametrize(("windows", "taken"), [(1, True), (50, True), (87, False), (123, False), (1224, False)])
def test_on_windows_an_invalid_argument_is_an_error_unless_the_disk_has_no_locks(lock, monkeypatch, windows, taken):
    error = OSError(errno.EINVAL, "it is wrong")
    error.winerror = windows  # one errno for many errors

    def acquire(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    if taken:
        alone(lock).close()
    else:
        with pytest.raises(OSError, match="it is wrong"):
            alone(lock)


def test_it_is_said_why_a_lock_cannot_be_shared(lock, caplog, monkeypatch):
    lock.write_bytes(b"no database of SQLite" * 99)
    assert lock_shared(lock) is None
    assert f"{lock} cannot be shared (file is not a database): others may remove what lies beside it" in caplog.text
    lock.unlink()
    caplog.clear()
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    seized = try_lock(lock)
    assert seized is not None
    assert lock_shared(lock) is None
    assert "cannot be shared (seized by another process, or its disk has no locks)" in caplog.text


@pytest.mark.skipif(filelock.ReadWriteLock is None, reason="Python without SQLite")
def test_who_was_forked_from_one_that_shares_goes_on_without_a_lock_of_its_own(lock):
    with lock_shared(lock):
        for work in (lock_shared, try_lock):
            assert in_another_process(lambda work=work: 1 / (work(lock) is None)) is None
        assert try_lock(lock) is None, "the first still shares it"
