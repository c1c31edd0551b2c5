"""Locks of files between processes: one alone, or several that share, on one machine and as far as its disks pass them on.

A lock reaches every process of this machine. Other machines see it where the disk that they share passes locks on, as NFS 4
and SMB do, and Lustre where it is mounted with flock. Who holds a lock stands beside it, so that others can name it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oscine.models.errors import OscineError
from oscine.models.json_text import read_json
from oscine.models.schema import check_fields

if TYPE_CHECKING:
    from filelock import BaseFileLock, ReadWriteLock

# Of a disk that knows no locks; any other error of a lock's file is one of the disk.
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
PATIENCE = 60.0  # seconds until who removes a store has done so
HOLDER = {"host": str, "process": int, "since": str}

logger = logging.getLogger(__name__)


class Lock:
    """A lock that this process alone holds, until it is closed or the process dies, however it dies.

    The processes that work for this one do not hold it.
    """

    def __init__(self, held: BaseFileLock | None, record: Path) -> None:
        self.held, self.record = held, record

    def close(self) -> None:
        if self.held:
            with suppress(OSError):
                self.record.unlink()
            self.held.release()
        self.held = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SharedLock:
    """A lock that several share, or that one has seized, until it is closed or its process dies."""

    def __init__(self, held: ReadWriteLock) -> None:
        self.held = held

    def close(self) -> None:
        self.held.release(force=True)
        self.held.close()

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of a process, parts of the library may be gone
            self.close()

    def __enter__(self) -> SharedLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock_exclusive(path: Path, doing: str, remedy: str) -> Lock:
    """Hold a lock alone; an error names who has it.

    doing, remedy: for that error, such as "writing OUT" and "choose another name".
    """
    lock = _exclusive(path, doing, wait=False)
    if lock is None:
        raise OscineError(f"{_holder(path) or 'another process'} is {doing}; wait for it, or {remedy}")
    return lock


def lock_wait(path: Path, doing: str) -> Lock:
    """Hold a lock alone, once whoever has it is done; a line of the log says who that is."""
    lock = _exclusive(path, doing, wait=False)
    if lock is None:
        logger.info("waiting for %s, which is %s", _holder(path) or "another process", doing)
        lock = _exclusive(path, doing, wait=True)
    assert lock is not None, "it was waited for"
    return lock


def lock_shared(path: Path) -> SharedLock | None:
    """Hold a lock that any number may share, and nobody seize meanwhile.

    Two of one process are two. None where the disk has no locks, or can be read alone, or where the process was forked from
    one that holds it.
    """
    return _read_write(path, shared=True)


def try_lock(path: Path) -> SharedLock | None:
    """Seize a lock that nobody shares; None where somebody does, or where that cannot be known."""
    return _read_write(path, shared=False)


def lock_run(folder: Path) -> Lock:
    """Hold the name of a run, whose folder may not be there yet, may be replaced, and is left as it is."""
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock_exclusive(lock, f"writing the run {folder}", "choose another --name")
    except OSError as error:
        raise OscineError(
            f"{folder} cannot be written: {error.strerror or error}; make room, or name other --runs"
        ) from None


def _exclusive(path: Path, doing: str, wait: bool) -> Lock | None:
    from filelock import FileLock, Timeout  # 0.1 s, which a command that writes nothing does without

    held, record = FileLock(path, thread_local=False), path.with_name(f"{path.name}.json")
    try:
        held.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return None
    except NotImplementedError:
        return _unlocked(path, doing, record)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return _unlocked(path, doing, record)
    _warn_of_other_host(path, doing)
    with suppress(OSError):  # a full disk: others then learn only that somebody has it, as of one that is torn
        record.write_bytes(_describe_holder())
    return Lock(held, record)


def _unlocked(path: Path, doing: str, record: Path) -> Lock:
    logger.warning("no locks on the disk of %s: let no other process be %s at the same time", path, doing)
    return Lock(None, record)


def _describe_holder() -> bytes:
    """Return what others are to know of this process, which holds a lock."""
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    return json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now}).encode()


def _record(path: Path) -> dict[str, Any] | None:
    record = path.with_name(f"{path.name}.json")
    try:
        return check_fields(read_json(record, ""), HOLDER, record, "")
    except (FileNotFoundError, OscineError):
        return None


def _holder(path: Path) -> str:
    """Name who holds a lock, or ""."""
    record = _record(path)
    return f"process {record['process']} on {record['host'][:99]!r} (since {record['since'][:40]})" if record else ""


def _warn_of_other_host(path: Path, doing: str) -> None:
    """Say so where another machine has begun what this one is about to do, and never said that it ended."""
    record = _record(path)
    if record and record["host"] != socket.gethostname():
        logger.warning(
            "%s was %s and did not say that it ended; if it still works, the locks of this disk do not reach it: stop one",
            _holder(path), doing,
        )  # fmt: skip


def _read_write(path: Path, shared: bool) -> SharedLock | None:
    from filelock import ReadWriteLock, Timeout

    if ReadWriteLock is None:  # Python was built without SQLite, in which it keeps these locks
        return None
    import sqlite3

    try:
        lock = ReadWriteLock(path, is_singleton=False)
        if shared:
            lock.acquire_read(timeout=PATIENCE)
        else:
            lock.acquire_write(blocking=False)
    # Held; no disk for it, or another user's; or a child, forked while its parent holds it, to which SQLite is closed.
    except (Timeout, OSError, ValueError, sqlite3.Error, RuntimeError):
        return None
    return SharedLock(lock)
