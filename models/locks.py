"""Lock files between processes: for one alone or shared, on one machine and as far as its disks pass locks on.

A lock reaches every process of this machine. Other machines see it where the disk that they share passes locks on, as NFS 4
and SMB do, and Lustre where it is mounted with flock. Who holds a lock stands beside it, so that others can name it. Both
files go with the lock.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from oscine.models.errors import OscineError
from oscine.models.files import WINDOWS
from oscine.models.json_text import check_fields, one_line, read_json

if TYPE_CHECKING:
    from filelock import BaseFileLock, ReadWriteLock

# Of a disk that knows no locks; any other error of a lock's file is one of the disk. Windows has one number for many errors,
# and says more in another: ERROR_INVALID_FUNCTION and ERROR_NOT_SUPPORTED.
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
NO_LOCKS_ON_WINDOWS = (1, 50)
MOMENT = 0.1  # seconds that whoever has done with a lock may take to let go of it
PATIENCE = 60.0  # seconds until who removes a store has done so
HOLDER = {"host": str, "process": int, "since": str}

logger = logging.getLogger(__name__)


class Lock(AbstractContextManager["Lock"]):
    """A lock that this process alone holds, until it is closed or the process dies, however it dies.

    The processes that work for this one do not hold it.
    """

    def __init__(self, held: BaseFileLock | None, path: Path) -> None:
        self.held, self.path = held, path

    def close(self) -> None:
        """Let go of the lock; its file goes first, so that nobody else can hold it as it does.

        Whoever has the file open by then finds that it is gone, and makes a new one. Windows deletes no file that is open:
        there filelock does so afterwards.
        """
        if self.held and self.held.is_locked:  # not in a process that was forked from the one that holds it
            for file in (_record_path(self.path), *([] if WINDOWS else [self.path])):
                with suppress(OSError):
                    file.unlink()
            self.held.release()
        self.held = None

    def __exit__(self, *_: object) -> None:
        self.close()


class SharedLock(AbstractContextManager["SharedLock"]):
    """A lock that several share, or that one has seized, until it is closed or its process dies."""

    def __init__(self, held: ReadWriteLock) -> None:
        self.held = held

    def close(self) -> None:
        self.held.release(force=True)
        self.held.close()

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of a process, parts of the library may be gone
            self.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def lock_exclusive(path: Path, doing: str, remedy: str) -> Lock:
    """Hold a lock alone; an error names who has it.

    doing, remedy: for that error, such as "writing OUT" and "choose another name".
    """
    lock = _exclusive(path, doing)
    if lock is None:
        raise OscineError(f"{_holder(path) or 'another process'} is {doing}; wait for it, or {remedy}")
    return lock


def lock_wait(path: Path, doing: str, stop: Event | None = None) -> Lock:
    """Hold a lock alone, once whoever has it is done; a line of the log says who that is. stop: ends the wait."""
    stop = stop or Event()
    lock = _exclusive(path, doing)
    if lock is None:
        logger.info("waiting for %s, which is %s", _holder(path) or "another process", doing)
        lock = _exclusive(path, doing, stop)
    if lock is None:
        raise OscineError(f"{doing} was stopped while another process did it; call again")
    return lock


def lock_shared(path: Path) -> SharedLock | None:
    """Hold a lock that any number may share, and nobody seize meanwhile.

    Two of one process are two. None where that cannot be, and a line of the log says why; none is said where nothing can be
    removed (a disk that can only be read) or is lost (a process that was forked from one that holds the lock).
    """
    return _read_write(path, shared=True)


def try_lock(path: Path) -> SharedLock | None:
    """Seize a lock that nobody shares; None where somebody does, or where that cannot be known."""
    return _read_write(path, shared=False)


@contextmanager
def lock_output(out: Path, remedy: str) -> Iterator[None]:
    """Hold a file or folder that a block writes, and that need not be there; the lock lies beside it.

    remedy: what else would do, such as "choose another name".
    """
    out = Path(os.path.abspath(out))  # "." has no name
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_exclusive(out.with_name(f".{out.name}.lock"), f"writing {out}", remedy)
    except OSError as error:
        raise OscineError(f"{out} cannot be written: {error.strerror or error}; make room, or {remedy}") from None
    with lock:
        yield


def _exclusive(path: Path, doing: str, stop: Event | None = None) -> Lock | None:
    """Hold a lock alone, or None where another process has it. stop: wait for that one until this is set."""
    from filelock import FileLock, Timeout  # 0.1 s, which a command that writes nothing does without

    # Where a disk has no locks, filelock's own fallback is a file that outlives whoever is killed, and a Python warning.
    held = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        held.acquire(timeout=-1 if stop else MOMENT, cancel_check=stop.is_set if stop else None)
    except Timeout:
        return None
    except OSError as error:
        on_windows = getattr(error, "winerror", None)
        if not (error.errno in NO_LOCKS if on_windows is None else on_windows in NO_LOCKS_ON_WINDOWS):
            raise
        logger.warning("no locks on the disk of %s: let no other process be %s at the same time", path, doing)
        with suppress(OSError):
            path.unlink()
        return Lock(None, path)
    _warn_of_other_host(path, doing)
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    record = {"host": socket.gethostname(), "process": os.getpid(), "since": now}
    with suppress(OSError):  # a full disk: others then learn only that somebody has it, as of one that is torn
        _record_path(path).write_bytes(json.dumps(record).encode())
    return Lock(held, path)


def _record_path(path: Path) -> Path:
    """Return the file that states who holds a lock."""
    return path.with_name(f"{path.name}.json")


def _record(path: Path) -> dict[str, Any] | None:
    record = _record_path(path)
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
    except RuntimeError:  # a child, forked while its parent holds it, to which SQLite is closed
        return None
    except (Timeout, OSError, ValueError, sqlite3.Error) as error:  # held; no disk for it, or another user's
        if shared and os.access(path.parent, os.W_OK):
            # As SQLite sees it, a lock that another holds and a disk that says ENOLCK are the same.
            held = "seized by another process, or its disk has no locks"
            reason = held if isinstance(error, Timeout) else one_line(error)
            logger.warning("%s cannot be shared (%s): others may remove what lies beside it meanwhile", path, reason)
        return None
    return SharedLock(lock)
