"""Any part of a gzip file without what lies before it: places where inflating can begin are found once.

A gzip file is a row of deflate blocks (RFC 1951), of which each may begin at any bit and refer to the 32 KiB before it. So a
place to begin is a block's first bit, its place in the content, and those 32 KiB. Where blocks begin stands nowhere: what
looks like one's header is tried, and taken if it inflates to what is known to follow.

indexed_gzip does the same but holds all windows in memory (seen: 29 MB for an index of 26): 8 GB for XCL, in every process
that reads. Here they stay on disk, and a read takes the one that it needs.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from oscine.models.audio.file_parts import Content

WINDOW = 2**15  # bytes that a block may refer to
SPACING = 2**21  # bytes of content from one point to the next, about: what is inflated for nothing is half of it
PIECE = 2**18  # bytes of the file that are inflated, and searched, at a time
SEARCH = 2**14  # of them that are searched at a time: about the length of a block
MOST = 2**22  # bytes that are inflated at a time, whatever the file says: a piece of zeros would be 2**28
AGREE = 2**15  # bytes that must be as they should be
DYNAMIC = 17 + 19 * 3  # bits of a dynamic block's header, up to the lengths of its code lengths' codes
GZIP, RAW = 31, -15  # how zlib is told


class Inflated(io.RawIOBase):
    """A gzip file's content, read once from its beginning; on the way points are gathered.

    points: first bit, place in the content, which of the windows goes before it, and that one's checksum: -1 and 0 where a
    gzip header goes before it.
    keep: takes the windows, one by one.
    whole: whether the file was read to its end, and that was one.
    """

    def __init__(self, file: BinaryIO, keep: Callable[[bytes], Any]) -> None:
        self.file, self.keep, self.windows, self.whole = file, keep, 0, False
        self.points: list[tuple[int, int, int, int]] = []
        self.pieces, self.rest = self._inflate(), memoryview(b"")

    def array(self) -> np.ndarray:  # [point, 4]
        return np.array(self.points, np.int64)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = memoryview(piece)
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count

    def _inflate(self) -> Iterator[bytes]:
        place = at = 0  # in the file, in its content
        inflater, tail = self._begin(place, at), b""
        while piece := self.file.read(PIECE):
            full = False  # whether more may come of what was read
            while piece or full:
                if inflater.eof:  # gzip files may be strung together, and be followed by zeros
                    place, piece = place + len(piece) - len(piece.lstrip(b"\0")), piece.lstrip(b"\0")
                    if not piece:
                        break
                    inflater, tail = self._begin(place, at), b""
                before = inflater.copy() if at - self.points[-1][1] >= SPACING else None
                content = inflater.decompress(piece, MOST)
                rest = inflater.unused_data or inflater.unconsumed_tail
                taken = piece[: len(piece) - len(rest)]
                if before and (found := find_block(before, taken, tail, content)):
                    bit, offset = found
                    window = (tail + content[:offset])[-WINDOW:]
                    self.points.append((8 * place + bit, at + offset, self.windows, zlib.crc32(window)))
                    self.windows += 1
                    self.keep(window)
                tail = (tail + content[-WINDOW:])[-WINDOW:]
                place, at, piece, full = place + len(taken), at + len(content), rest, len(content) == MOST
                yield content
        self.whole = inflater.eof

    def _begin(self, place: int, at: int) -> Any:
        self.points.append((8 * place, at, -1, 0))
        return zlib.decompressobj(GZIP)


def find_block(before: Any, piece: bytes, tail: bytes, content: bytes) -> tuple[int, int] | None:
    """A block's first bit in `piece`, and its place in `content`, which `before` inflates it to; None if none is found.

    tail: the content before.
    """
    for bit in _candidates(piece):
        first = bit // 8
        if _inflates(_from_bit(piece[first : first + 2**9], bit), bytes(WINDOW)) is None:
            continue
        # Nothing is put out by a block's first byte, so this is all that goes before it.
        offset = len(before.copy().decompress(piece[: first + 1]))
        window = (tail + content[:offset])[-WINDOW:]
        found = _inflates(_from_bit(piece[first:], bit), window)
        if len(window) == WINDOW and found and len(found) >= AGREE and content.startswith(found, offset):
            return bit, offset
    return None


class Inflating(Content):
    """A gzip file's content from any place on.

    points: as `Inflated.array` has them. windows: a file of its windows, one by one. size: of the content.
    """

    def __init__(self, file: BinaryIO, points: np.ndarray, windows: BinaryIO, size: int) -> None:
        super().__init__(size)
        self.file, self.points, self.windows = file, points, windows
        self.pieces: Iterator[bytes] = iter(())
        self.rest, self.at = b"", 0  # inflated already, and its place in the content

    def readinto(self, buffer: Any) -> int:
        if self.place >= self.size:
            return 0
        while not self.at <= self.place < self.at + len(self.rest):
            self._go_on()
        skip = self.place - self.at
        content = self.rest[skip : skip + len(buffer)]
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)

    def _go_on(self) -> None:
        """Inflate the next piece, or the first one from a point that is nearer."""
        end = self.at + len(self.rest)
        bit, begin, number, checksum = self.points[
            np.searchsorted(self.points[:, 1], self.place, side="right") - 1
        ].tolist()
        piece = None
        if self.at <= self.place and begin <= end:
            piece = next(self.pieces, None)
            if piece is None and begin < end:  # no other gzip file follows
                raise EOFError("ends too early")
        if piece is None:
            window = b""
            if number >= 0:
                self.windows.seek(number * WINDOW)
                window = self.windows.read(WINDOW)
                if zlib.crc32(window) != checksum:
                    raise zlib.error("its index in .index is damaged, delete that")
            self.pieces, end = _inflate_from(self.file, bit, window), begin
            piece = next(self.pieces, None)
            if piece is None:
                raise EOFError("ends too early")
        self.rest, self.at = piece, end


def _inflate_from(file: BinaryIO, bit: int, window: bytes) -> Iterator[bytes]:
    """What is inflated from `bit` to the end of a gzip file, piece by piece."""
    file.seek(bit // 8)
    inflater = zlib.decompressobj(RAW, zdict=window) if window else zlib.decompressobj(GZIP)
    piece, full = _from_bit(file.read(2**16), bit), False
    while (piece or full) and not inflater.eof:
        inflated = inflater.decompress(piece, MOST)
        full = len(inflated) == MOST
        piece = inflater.unconsumed_tail or (b"" if full else file.read(2**16))
        if inflated:
            yield inflated


def _inflates(data: bytes, window: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(RAW, zdict=window).decompress(data, MOST)
    except zlib.error:
        return None


def _from_bit(data: bytes, bit: int) -> bytes:
    """Deflated data from a bit of its first byte on: empty blocks take the place of the bits before.

    What follows stays where it is within its bytes, for stored blocks begin at whole ones.
    """
    before = PRIMES[bit % 8]
    return before[:-1] + bytes([before[-1] | data[0] >> bit % 8 << bit % 8]) + data[1:] if before else data


def _primes() -> list[bytes]:
    """Empty blocks that end 0, 1, ... 7 bits after a whole byte."""
    even = "010" + 7 * "0"  # of type 1, at once at its end: 10 bits
    # Of type 2, with one literal's code, the end's: 93 bits. Lengths' codes: 0 for 0, 10 for 1, 11 for a row of zeros.
    odd = (
        "001" + 10 * "0" + "0111" + 6 * "0" + "010100" + 39 * "0" + "010" + "111111111" + "111101011" + "10" + "0" + "0"
    )
    primes = []
    for bits in range(8):
        row = (odd if bits % 2 else "") + even * ((bits - 93 * (bits % 2)) % 8 // 2)
        primes.append(int(row[::-1] or "0", 2).to_bytes(-(-len(row) // 8), "little"))
    return primes


PRIMES = _primes()


def _candidates(piece: bytes) -> Iterator[int]:
    """Bits at which a stored or a dynamic block may begin, ascending; most are not one."""
    for first in range(0, len(piece) - DYNAMIC, SEARCH):
        data = np.frombuffer(piece[first : first + SEARCH + DYNAMIC], np.uint8)
        bits = np.unpackbits(data, bitorder="little")
        for bit in np.sort(np.concatenate([_dynamic(bits), _stored(data, bits)])).tolist():
            if bit < 8 * SEARCH:
                yield 8 * first + bit


def _dynamic(bits: np.ndarray) -> np.ndarray:
    """Not the last block; type 2; at most 286 literals and 30 distances; code lengths' codes that use up all codes."""
    number = bits[:-3] + 2 * bits[1:-2] + 4 * bits[2:-1] + 8 * bits[3:]  # of the four bits from each
    places = np.flatnonzero(number[: len(bits) - DYNAMIC] & 7 == 4)
    places = places[(number[places + 4] < 15) & (number[places + 9] < 15)]
    lengths = number[(places + 17)[:, None] + 3 * np.arange(19)] & 7
    shares = np.array([0, 64, 32, 16, 8, 4, 2, 1], np.uint16)[lengths]
    shares[np.arange(19) >= number[places + 13, None] + 4] = 0
    return places[shares.sum(1) == 128]


def _stored(data: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Not the last block; type 0; then from a whole byte on its length and that length's complement."""
    low, high = data[:-1].astype(np.int64), data[1:].astype(np.int64)
    words = low | high << 8
    places = np.flatnonzero((words[:-2] ^ words[2:]) == 0xFFFF)
    places = places[(places > 0) & (words[places] > 0)]
    header = bits[8 * places[:, None] - 3 + np.arange(3)] if len(places) else np.zeros((0, 3), np.uint8)
    return 8 * places[~header.any(1)] - 3
