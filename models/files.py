"""Files that are whole or absent, their hashes, and sizes in words."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha1, sha256
from pathlib import Path
from typing import BinaryIO

from oscine.models.paths import WINDOWS
from oscine.models.streams import ends

Stamp = tuple[int, int, str]  # a file's size in bytes, its time in ns, and a hash of its first and last part


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there complete or not at all, also after a crash."""
    with whole(path) as file:
        file.write(content)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write and read, which is there complete once the block has ended without an error, else not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as file:
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


def file_stamp(path: str | Path) -> Stamp:
    """Return what tells a file from another that is, or was, in its place."""
    with open(path, "rb") as file:
        return stamp_of(file)


def stamp_of(file: BinaryIO) -> Stamp:
    """Return the stamp of a file that is open; where one reads it from is another place afterwards."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, ends(file)


def file_hash(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def git_hash(content: bytes) -> str:
    """What git, and the Hub of a small file, calls a file with that content."""
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def bytes_in_words(count: int) -> str:
    """Return a number of bytes in the unit that fits: 1.5 GB, 20.0 MB, 3.2 kB, 7 bytes."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} bytes"
