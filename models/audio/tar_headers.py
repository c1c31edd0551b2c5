"""Read what lies in a tar file from its headers, block by block: bounded, whatever they say.

Python's tarfile ends in silence at a header that is damaged, and holds extended headers and maps of sparse files whole.

A sparse file is one that a tar holds without its zeros (GNU's --sparse). GNU tar has four ways to write the map of where
its runs of bytes lie: in blocks behind the header (type S), in a PAX header as pairs of numbers (0.0) or as a list of them
(0.1), and before the content (1.0).
"""

from __future__ import annotations

import os
import tarfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, BinaryIO, NamedTuple

from oscine.models.audio.file_parts import Content, Part

BLOCK = tarfile.BLOCKSIZE
LONGEST = 2**20  # bytes of an extended header: names and times are a few hundred
EXTENDED = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME}
IGNORED = {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}  # what they say is of no use here
FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
SPARSE = "is stored without its zeros (a sparse file), in a way that is not read; pack its tar again without --sparse"
LARGEST = 2**34  # bytes of a file with its zeros, which may all be read
MOST = 2**16  # runs of a file
LONGEST_MAP = 21 * (2 * MOST + 1)  # bytes of a map as text
PREFIX = "GNU.sparse."
MAP, PAIR = f"{PREFIX}map", (f"{PREFIX}offset", f"{PREFIX}numbytes")

Runs = tuple[tuple[int, int], ...]  # of each its place in the file with its zeros, and its bytes, in order


class TarError(Exception):
    """Why a tar file cannot be read on."""


class Place(NamedTuple):
    """Where a file lies in a tar: `length` bytes from `offset`.

    runs: of a sparse file, which of its bytes the tar holds, one behind the other from `offset`; the others are zeros.
    """

    offset: int
    length: int
    runs: Runs = ()

    @property
    def stored(self) -> int:
        """Bytes that the tar holds."""
        return sum(count for _, count in self.runs) if self.runs else self.length

    def part(self, file: Any) -> Part:
        """Return the file as one of its own."""
        if self.runs:
            return Part(Sparse(file, self.offset, self.runs, self.length), 0, self.length)
        return Part(file, self.offset, self.length)


class Entry(NamedTuple):
    """A file in a tar: its name, where it lies, where the next header is; and why it cannot be read, or ""."""

    name: str
    place: Place
    end: int
    trouble: str = ""


def read_entries(content: BinaryIO) -> Iterator[Entry]:
    """Yield every file of a tar that begins here. After each the caller goes on to its end, by reading or seeking."""
    place, extended = 0, dict[str, str]()
    while block := content.read(BLOCK):
        place += len(block)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if len(block) == BLOCK and not any(block):  # the archive's end
                return
            if len(block) < BLOCK:
                raise EOFError("ends too early") from None
            raise TarError(f"{error}, at byte {place - BLOCK:,}") from None
        if header.size < 0:
            raise TarError(f"negative size, at byte {place - BLOCK:,}")
        if header.type in EXTENDED | IGNORED:
            data, place = _read(content, header, place)
            extended |= _names(header.type, data)
            continue
        size = _number(extended.get("size"), header.size)
        is_file, end = header.type in FILES | {tarfile.GNUTYPE_SPARSE}, place + size + -size % BLOCK
        sparse: Map | None = None
        if header.type == tarfile.GNUTYPE_SPARSE:
            sparse = read_old_map(content, block)
            end += sparse.taken
        elif is_file and any(key.startswith(PREFIX) for key in extended):
            sparse = read_pax_map(content, extended, size)
            size = max(0, size - sparse.taken)  # a map takes whole blocks
        elif not is_file and header.type in tarfile.SUPPORTED_TYPES:
            size, end = 0, place  # links and folders have no content
        place += sparse.taken if sparse else 0
        name = extended.get(f"{PREFIX}name") or extended.get("path") or header.name
        # A name's bytes that are no UTF-8 become "\\xe4": Parquet could not hold them.
        entry = Entry(os.fsencode(name).decode(errors="backslashreplace"), Place(place, size), end)
        if sparse and not sparse.fits(size):
            entry = entry._replace(trouble=SPARSE)
        elif sparse:
            entry = entry._replace(place=Place(place, sparse.size, sparse.runs or ((sparse.size, 0),)))
        if is_file and not header.name.endswith("/"):
            yield entry
        elif size:
            while place < end and (block := content.read(min(end - place, 2**20))):
                place += len(block)
            if place < end:
                raise EOFError("ends too early")
        place, extended = end, {}


def _read(content: BinaryIO, header: tarfile.TarInfo, place: int) -> tuple[bytes, int]:
    """Read the content of a header that extends the next one, and where it ends."""
    if header.size > LONGEST:
        raise TarError(f"a header of {header.size:,} bytes, at byte {place - BLOCK:,}")
    length = header.size + -header.size % BLOCK
    data = content.read(length)
    if len(data) < length:
        raise EOFError("ends too early")
    return data[: header.size], place + length


def _names(kind: bytes, data: bytes) -> dict[str, str]:
    """Read what an extended header says, by its key; in a PAX header a row is "LENGTH KEY=VALUE\\n"."""
    if kind in IGNORED:
        return {}
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode(errors="surrogateescape")}
    said: dict[str, str] = {}
    runs: list[str] = []  # of a sparse file, which may come as a row a number
    begin, end = 0, len(data.rstrip(b"\0"))
    while begin < end:
        digits = data[begin : begin + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        key, equals, value = data[begin + len(digits) + 1 : begin + length - 1].partition(b"=")
        if not (equals and len(digits) < length <= len(data) - begin):
            raise TarError("an extended header that is none")
        name, text = key.decode(errors="replace"), value.decode(errors="surrogateescape")
        if name in PAIR:
            runs.append(text)
        said[name] = text
        begin += length
    return said | {MAP: ",".join(runs)} if runs else said


def _number(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TarError(f"a size of {text[:40]!r}")
    return int(text)


# Sparse files


class Sparse(Content):
    """A file of `size` bytes of which only runs lie in another, one behind the other from `begin`."""

    def __init__(self, file: Any, begin: int, runs: Runs, size: int) -> None:
        super().__init__(size)
        self.file, self.runs = file, runs
        self.starts = [start for start, _ in runs]
        self.places = [begin + before for before in accumulate((count for _, count in runs), initial=0)]

    def take(self, count: int) -> bytes:
        number = bisect_right(self.starts, self.place) - 1
        start, length = self.runs[number] if number >= 0 else (0, 0)
        if self.place < start + length:
            self.file.seek(self.places[number] + self.place - start)
            return self.file.read(min(count, start + length - self.place)) or b""
        following = self.starts[number + 1] if number + 1 < len(self.starts) else self.size
        return bytes(max(0, min(count, following - self.place)))


class Map(NamedTuple):
    """A map as it is read: the file's runs and its size, and the bytes that the map takes of the archive."""

    runs: Runs
    size: int
    taken: int = 0

    def fits(self, stored: int) -> bool:
        """Return whether it makes a file of its size, of which `stored` bytes are in the tar."""
        ends = [0, *(start + count for start, count in self.runs)]
        ordered = all(end <= start and count >= 0 for end, (start, count) in zip(ends, self.runs))
        return ordered and ends[-1] <= self.size <= LARGEST and sum(count for _, count in self.runs) == stored


UNREADABLE = Map((), -1)


def read_old_map(content: BinaryIO, header: bytes) -> Map:
    """Read the map that a header of type S begins and blocks behind it go on with."""
    numbers, taken = _octal(header, 386, 8), 0
    more, size = header[482], _tar_number(header[483:495])
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
    while lines < wanted and len(text) < min(stored, LONGEST_MAP):
        block = content.read(BLOCK)
        if len(block) < BLOCK:
            raise EOFError("ends too early")
        text += block
        lines += block.count(b"\n")
        count = text[:8].partition(b"\n")[0]
        wanted = 1 + 2 * int(count) if count.isdigit() and int(count) <= MOST else 0
    return text.decode(errors="replace").split("\n")[1:wanted], len(text)


def _octal(block: bytes, place: int, count: int) -> list[int]:
    """Read `count` numbers of 12 bytes each; -1 stands for what is none."""
    return [_tar_number(block[at : at + 12]) for at in range(place, place + 12 * count, 12)]


def _tar_number(field: bytes) -> int:
    """Read a number of octal digits, or of bytes where the first bit is set."""
    if field[0] & 128:
        return int.from_bytes(bytes([field[0] & 127]) + field[1:], "big")
    digits = field.strip(b"\0 ") or b"0"
    return int(digits, 8) if digits.isdigit() and not {*digits} & {*b"89"} else -1


def _pairs(numbers: Sequence[int]) -> Runs:
    """Join places and lengths in turn; those without bytes mark an end, or fill up a block."""
    return tuple((start, count) for start, count in zip(numbers[::2], numbers[1::2]) if count)
