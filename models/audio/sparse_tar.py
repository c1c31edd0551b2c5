"""Files that a tar holds without their zeros (sparse files, GNU's --sparse): where their runs of bytes lie.

GNU tar has four ways to write the map of them: in blocks behind the header (type S), in a PAX header as pairs of numbers
(0.0) or as a list of them (0.1), and before the content (1.0).
"""

from __future__ import annotations

import tarfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, BinaryIO, NamedTuple

from oscine.models.audio.file_parts import Content

BLOCK = tarfile.BLOCKSIZE
LARGEST = 2**34  # bytes of a file with its zeros, which may all be read
MOST = 2**16  # runs of a file
LONGEST = 21 * (2 * MOST + 1)  # bytes of a map as text
PREFIX = "GNU.sparse."
MAP, PAIR = f"{PREFIX}map", (f"{PREFIX}offset", f"{PREFIX}numbytes")

Runs = tuple[tuple[int, int], ...]  # of each its place in the file with its zeros, and its bytes, in order


class Sparse(Content):
    """A file of `size` bytes of which only runs lie in another, one behind the other from `begin`."""

    def __init__(self, file: Any, begin: int, runs: Runs, size: int) -> None:
        super().__init__(size)
        self.file, self.runs = file, runs
        self.starts = [start for start, _ in runs]
        self.places = [begin + before for before in accumulate((count for _, count in runs), initial=0)]

    def readinto(self, buffer: Any) -> int:
        number = bisect_right(self.starts, self.place) - 1
        start, count = self.runs[number] if number >= 0 else (0, 0)
        if self.place < start + count:
            self.file.seek(self.places[number] + self.place - start)
            content = self.file.read(min(len(buffer), start + count - self.place)) or b""
        else:
            following = self.starts[number + 1] if number + 1 < len(self.starts) else self.size
            content = bytes(max(0, min(len(buffer), following - self.place)))
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)


class Map(NamedTuple):
    """A map as it is read: the file's runs and its size, and the bytes that the map takes of the archive."""

    runs: Runs
    size: int
    taken: int = 0

    def fits(self, stored: int) -> bool:
        """Return whether it makes a file of its size, of which so many bytes are stored."""
        ends = [0, *(start + count for start, count in self.runs)]
        ordered = all(end <= start and count >= 0 for end, (start, count) in zip(ends, self.runs))
        return ordered and ends[-1] <= self.size <= LARGEST and sum(count for _, count in self.runs) == stored


def read_old_map(content: BinaryIO, header: bytes) -> Map:
    """Read the map that a header of type S begins and blocks behind it go on with."""
    numbers, taken = _octal(header, 386, 8), 0
    more, size = header[482], _number(header[483:495])
    while more:
        block = content.read(BLOCK)
        if len(block) < BLOCK:
            raise EOFError("ends too early")
        if len(numbers) < 2 * MOST:
            numbers += _octal(block, 0, 42)
        more, taken = block[504], taken + BLOCK
    return Map(_pairs(numbers), size, taken)


def read_pax_map(content: BinaryIO, extended: Mapping[str, str], stored: int) -> Map:
    """Read the map that a PAX header gives, or that it announces before the content, of which `stored` bytes are there.

    One that cannot be read fits no file.
    """
    if MAP in extended:
        texts, size, taken = extended[MAP].split(","), extended.get(f"{PREFIX}size", ""), 0
    elif (extended.get(f"{PREFIX}major"), extended.get(f"{PREFIX}minor")) == ("1", "0"):
        texts, taken = _read_lines(content, stored)
        size = extended.get(f"{PREFIX}realsize", "")
    else:
        return UNREADABLE
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in [size, *texts]):
        return UNREADABLE._replace(taken=taken)
    return Map(_pairs([int(text) for text in texts]), int(size), taken)


def _read_lines(content: BinaryIO, stored: int) -> tuple[list[str], int]:
    """Read whole blocks of lines, of which the first says how many pairs follow; return those, and the bytes read."""
    text, lines, wanted = bytearray(), 0, 1
    while lines < wanted and len(text) < min(stored, LONGEST):
        block = content.read(BLOCK)
        if len(block) < BLOCK:
            raise EOFError("ends too early")
        text += block
        lines += block.count(b"\n")
        count = text[:8].partition(b"\n")[0]
        wanted = 1 + 2 * int(count) if count.isdigit() and int(count) <= MOST else 0
    return text.decode(errors="replace").split("\n")[1:wanted], len(text)


def _octal(block: bytes, place: int, count: int) -> list[int]:
    """Read so many numbers of 12 bytes each; -1 stands for what is none."""
    return [_number(block[at : at + 12]) for at in range(place, place + 12 * count, 12)]


def _number(field: bytes) -> int:
    """Read a number of octal digits, or of bytes where the first bit is set."""
    if field[0] & 128:
        return int.from_bytes(bytes([field[0] & 127]) + field[1:], "big")
    digits = field.strip(b"\0 ") or b"0"
    return int(digits, 8) if digits.isdigit() and not {*digits} & {*b"89"} else -1


def _pairs(numbers: Sequence[int]) -> Runs:
    """Join places and lengths in turn; those without bytes mark an end, or fill up a block."""
    return tuple((start, count) for start, count in zip(numbers[::2], numbers[1::2]) if count)


UNREADABLE = Map((), -1)
