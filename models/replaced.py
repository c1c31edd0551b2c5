"""What a command may replace: only what it wrote itself, moved aside first and deleted once the new one stands."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from oscine.models.errors import OscineError

# What a desktop leaves in a folder that was looked at; nobody misses it.
LITTER = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")


def foreign_file(paths: Iterable[Path], below: Path, own: re.Pattern[str]) -> Path | None:
    """Return the first file at or below some paths that is none of a command's own; None where all are.

    own: matches paths relative to `below`, with slashes. A link to a folder counts as a file.
    """
    files = (file for path in paths for file in _files(path))
    return next((file for file in files if not own.fullmatch(file.relative_to(below).as_posix())), None)


def check_own(paths: Iterable[Path], below: Path, own: re.Pattern[str], writer: str) -> None:
    """Raise where something else lies among the files that a command would replace."""
    if found := foreign_file(paths, below, own):
        raise OscineError(
            f"{found} is none of the files that {writer} writes, and would be deleted; move it away or choose another name"
        )


def _files(path: Path) -> Iterator[Path]:
    """Yield what is at or below a path and is no folder, in the order of the names; an empty folder has none."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _files(child)
    elif os.path.lexists(path) and not LITTER.fullmatch(path.name):
        yield path


def check_ours(path: Path, mark: bytes) -> None:
    """Raise where a file to replace is none that oscine writes, see `begins_as_ours`; an empty one may go."""
    try:
        ours = not path.exists() or not path.stat().st_size or begins_as_ours(path, mark)
    except OSError as error:
        raise OscineError(
            f"{path} cannot be read ({error.strerror}), and is not replaced; choose another name"
        ) from None
    if not ours:
        raise OscineError(f"{path} was not written by oscine, and is not replaced; move it away or choose another name")


def begins_as_ours(path: Path, mark: bytes) -> bool:
    """Return whether a mark stands in the first 256 bytes of a file, quotes aside; in the footer of a Parquet file."""
    with path.open("rb") as file:
        content = _footer(file) if path.suffix == ".parquet" else file.read(256)
    return mark in content.replace(b'"', b"")


def _footer(file: BinaryIO) -> bytes:
    """Return the metadata of a Parquet file, which stand before their length at its end; b"" of any other."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    if not 0 < length < size - 8 or file.read(4) != b"PAR1":
        return b""
    file.seek(size - 8 - length)
    return file.read(length)


class Aside:
    """A folder to which earlier files are moved until the new ones stand.

    Killed in between, the folder is still there; whoever writes the same files next decides what becomes of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, paths: Iterable[Path]) -> None:
        """Move files and folders that are there into the folder."""
        for path in paths:
            if os.path.lexists(path):
                self.folder.mkdir(parents=True, exist_ok=True)
                path.rename(self.folder / path.name)

    def put_back(self, place: Path) -> None:
        """Move everything to where it was, in place of what came there meanwhile."""
        if self.folder.is_dir():
            for path in sorted(self.folder.iterdir()):
                remove(place / path.name)
                path.rename(place / path.name)
            self.folder.rmdir()

    def discard(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def moved_aside(paths: Iterable[Path], folder: Path) -> Iterator[None]:
    """Move files aside for a block that writes the new ones: put them back where it fails, else delete them."""
    aside = Aside(folder)
    aside.discard()  # of a call that was killed
    try:
        aside.take(paths)
        yield
    except BaseException:
        aside.put_back(folder.parent)
        raise
    aside.discard()


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
