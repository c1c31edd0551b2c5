"""Files that are whole or absent, and those that one process alone may hold."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from oscine.models.errors import OscineError
from oscine.models.paths import WINDOWS

# POSIX locks files by the one, Windows by the other; where there is neither, nothing is locked, as on a disk without locks.
fcntl: Any = None
msvcrt: Any = None
with suppress(ImportError):
    fcntl = import_module("fcntl")
with suppress(ImportError):
    msvcrt = import_module("msvcrt")

SHARES = 1024  # bytes of a lock file on Windows, which has no shared locks: who shares locks one, who seizes locks all

logger = logging.getLogger(__name__)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there complete or not at all, also after a crash."""
    with whole(path) as file:
        file.write(content)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which is there complete once the block has ended without an error, else not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        put(part, path)
    except BaseException:
        part.unlink(missing_ok=True)  # a full disk has no room for halves
        raise


def put(part: Path, path: Path) -> None:
    """Rename a file, over what is there. On Windows try again while another process, often a virus scanner, has it open."""
    for pause in (0.05, 0.2, 0.5, 1.0) if WINDOWS else ():
        with suppress(PermissionError):
            part.replace(path)
            return
        time.sleep(pause)
    part.replace(path)


def file_hash(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hold(lock: Path, doing: str, other: str) -> BinaryIO:
    """The open file of a lock, which no other process gets until it is closed, or this one dies, however it dies.

    It is not inherited by the processes that work for this one. doing, other: for the error where another has it, such as
    "writing OUT" and "name".
    """
    held = lock.open("ab")
    try:
        _lock_for_process(held, wait=False)
    except (BlockingIOError, PermissionError):
        held.close()
        raise OscineError(f"another process is {doing}; wait for it, or choose another {other}") from None
    except OSError:
        logger.info("no locks on the disk of %s: let no other process be %s at the same time", lock, doing)
    return held


def wait_for(lock: Path) -> BinaryIO:
    """As `hold`, once whoever has it is done."""
    held = lock.open("ab")
    try:
        _lock_for_process(held, wait=True)
    except OSError:
        logger.info("no locks on the disk of %s: several processes may do the same work there", lock)
    return held


def share(lock: Path) -> BinaryIO | None:
    """The open file of a lock that any number may have at once, and nobody may `seize`, until it is closed.

    Two of one process are two. None where the disk has no locks, or can be read alone and has none there.
    """
    try:
        held = lock.open("rb" if lock.exists() else "a+b")  # what is shared must be readable on network disks
    except OSError:
        return None
    return held if _lock_open_file(held, shared=True) else None


def seize(lock: Path) -> BinaryIO | None:
    """The open file of a lock that nobody shares; None where somebody does, or where that cannot be known."""
    try:
        held = lock.open("ab")
    except OSError:  # another user's
        return None
    return held if _lock_open_file(held, shared=False) else None


def _lock_for_process(held: BinaryIO, wait: bool) -> None:
    """Lock a file for this process alone; where another has it, wait or raise."""
    if fcntl:
        fcntl.lockf(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt:
        _lock_bytes(held, shared=False, wait=wait)


def _lock_open_file(held: BinaryIO, shared: bool) -> bool:
    """Lock an open file, whoever opened it, or close it."""
    try:
        if fcntl:
            fcntl.flock(held, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if msvcrt:
            _lock_bytes(held, shared, wait=shared)
            return True
    except OSError:
        pass
    held.close()
    return False


def _lock_bytes(held: BinaryIO, shared: bool, wait: bool) -> None:
    """Lock one byte of an open file on Windows, or all; where another has them, try again or raise."""
    while True:
        first, count = (secrets.randbelow(SHARES), 1) if shared else (0, SHARES)
        os.lseek(held.fileno(), first, os.SEEK_SET)  # also beyond the file's end
        try:
            msvcrt.locking(held.fileno(), msvcrt.LK_NBLCK, count)
            return
        except PermissionError:
            if not wait:
                raise
            time.sleep(0.05)
