"""Read parts of files as files of their own, for libsndfile, which calls them from C: an error is kept, not raised."""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO


class Content(io.RawIOBase):
    """So many bytes that are read at `place`, which is anywhere; a subclass says which bytes these are."""

    def __init__(self, size: int) -> None:
        self.size, self.place = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = max(0, offset + (0, self.place, self.size)[whence])
        return self.place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: Any) -> int:
        content = self.take(len(buffer))
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)

    def take(self, count: int) -> bytes:
        """Return bytes at `place`, at most so many; none at the end."""
        raise NotImplementedError


class Part(Content):
    """These bytes, and then `length` bytes of a file from `begin`, as a file.

    error: why the file could not be read, if so; from then on it seems to end.
    """

    def __init__(self, file: BinaryIO | io.RawIOBase, begin: int, length: int, header: bytes = b"") -> None:
        super().__init__(len(header) + length)
        self.file, self.begin, self.header = file, begin, header
        self.error: Exception | None = None

    def take(self, count: int) -> bytes:
        if self.place < len(self.header):
            return self.header[self.place : self.place + count]
        count = min(count, self.size - self.place)
        if count <= 0 or self.error:
            return b""
        try:
            self.file.seek(self.begin + self.place - len(self.header))
            content = self.file.read(count) or b""
            under = getattr(self.file, "raw", None)
            self.error = under.error if isinstance(under, Part) else None
            return content
        except (OSError, EOFError, ValueError, zlib.error) as error:
            self.error = error
            return b""


class Ends(Content):
    """A file of which only both ends are known, as much as its header needs. asked: whether more was asked for."""

    def __init__(self, head: bytes, tail: bytes, size: int) -> None:
        super().__init__(size)
        self.head, self.tail = head, tail
        self.asked = False

    def take(self, count: int) -> bytes:
        begin = self.size - len(self.tail)
        if self.place < len(self.head):
            return self.head[self.place : self.place + count]
        if self.place >= begin:
            return self.tail[self.place - begin : self.place - begin + count]
        self.asked = True
        return b""
