"""Read any part of a gzip file without what lies before it, from points that are found once.

A gzip file is a row of deflate blocks (RFC 1951). A block begins at any bit, and may repeat any of the 32 KiB of content
before it. A point is what inflating needs to begin at a block: its first bit, its place in the content, and those 32 KiB:

    file     | header | block 0 ......... | block 1 ........... | block 2 ... | checksum |
                                           ^ first bit, anywhere in a byte
    content  | ..................... window, 32 KiB | what block 1 inflates to ...
                                                    ^ place

Where blocks begin stands nowhere: what looks like the header of one is tried, and taken if it inflates to the content that
is known to follow there.

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

WINDOW = 2**15  # bytes of content that a block may repeat
SPACING = 2**21  # bytes of content from one point to the next, about: what is inflated for nothing is half of it
PIECE = 2**18  # bytes of the file that are inflated, and searched, at a time
SEARCH = 2**14  # of them that are searched at a time: about the length of a block
MOST = 2**22  # bytes that are inflated at a time, whatever the file says: a piece of zeros would be 2**28
AGREE = 2**15  # bytes of content that must be as they should be for a block to be taken
GZIP, RAW = 31, -15  # zlib's numbers for data with a gzip header, and for deflate blocks without one


class GzipIndexer(io.RawIOBase):
    """A gzip file's content, read once from its beginning; on the way points are gathered.

    points: first bit, place in the content, number of the window, and that one's checksum: -1 and 0 where a gzip header
    is what begins there.
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


class GzipReader(Content):
    """A gzip file's content from any place on.

    points: as `GzipIndexer.array` has them. windows: a file of its windows, one by one. size: of the content.
    """

    def __init__(self, file: BinaryIO, points: np.ndarray, windows: BinaryIO, size: int) -> None:
        super().__init__(size)
        self.file, self.points, self.windows = file, points, windows
        self.pieces: Iterator[bytes] = iter(())
        self.rest, self.at = b"", 0  # inflated already, and its place in the content

    def take(self, count: int) -> bytes:
        if self.place >= self.size:
            return b""
        while not self.at <= self.place < self.at + len(self.rest):
            self._go_on()
        skip = self.place - self.at
        return self.rest[skip : skip + count]

    def _go_on(self) -> None:
        """Inflate the next piece, or the first one from a point that is nearer."""
        end = self.at + len(self.rest)
        point = np.searchsorted(self.points[:, 1], self.place, side="right") - 1
        bit, begin, number, checksum = self.points[point].tolist()
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
    """Inflate from `bit` to the end of a gzip file, piece by piece."""
    file.seek(bit // 8)
    inflater = zlib.decompressobj(RAW, zdict=window) if window else zlib.decompressobj(GZIP)
    piece, full = _from_bit(file.read(2**16), bit), False
    while (piece or full) and not inflater.eof:
        inflated = inflater.decompress(piece, MOST)
        full = len(inflated) == MOST
        piece = inflater.unconsumed_tail or (b"" if full else file.read(2**16))
        if inflated:
            yield inflated


def find_block(before: Any, piece: bytes, tail: bytes, content: bytes) -> tuple[int, int] | None:
    """Find a block: its first bit in `piece`, and its place in `content`; None where none is found.

    before: an inflater that makes `content` of `piece`. tail: the content before.
    """
    for bit in _candidates(piece):
        first = bit // 8
        # The beginning alone, first: of most candidates that is no deflate data.
        if _inflate_block(piece[first : first + 2**9], bit, bytes(WINDOW)) is None:
            continue
        # Nothing is put out by a block's first byte, so this is all that goes before it.
        offset = len(before.copy().decompress(piece[: first + 1]))
        window = (tail + content[:offset])[-WINDOW:]
        found = _inflate_block(piece[first:], bit, window)
        if len(window) == WINDOW and found and len(found) >= AGREE and content.startswith(found, offset):
            return bit, offset
    return None


def _inflate_block(data: bytes, bit: int, window: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(RAW, zdict=window).decompress(_from_bit(data, bit), MOST)
    except zlib.error:
        return None


# zlib begins at a whole byte, a block at any bit. So the bits before it are replaced by empty blocks, which put nothing out
# and end at that very bit; a block that begins at bit 6 of byte 0:
#
#     data       | x x x x x x B B | B B ...          x: of the block before; B: of the block
#     becomes    | E E E E E E E E | E ... E | E E E E E E B B | B B ...
#
# All data stays where it is within its bytes, since stored blocks go on at the next whole byte. An empty block of type 1
# (fixed codes) has 10 bits, so that none, one, two or three of them end 0, 2, 4 or 6 bits after a whole byte. Where an odd
# number of bits is needed, an empty block of type 2 (own codes), which has 93 bits, goes before them.
_FIXED = "010" + "0000000"  # not the last block, type 1; its end
_OWN = (
    "001" + "00000" + "00000" + "0111"  # not the last block, type 2; 257 literals, 1 distance, 18 lengths of codes' lengths
    + 2 * "000" + "010" + "100" + 13 * "000" + "010"  # of which 18 has 2 bits, 0 has 1, and 1 has 2
    + "11" + "1111111" + "11" + "1101011"  # 138 + 118 literals without a code
    + "10" + "0" + "0"  # code lengths: 1 for the end, 0 for the distance; the end
)  # fmt: skip


def _empty_blocks(bits: int) -> bytes:
    """Make the empty blocks that end so many bits, 0 to 7, after a whole byte."""
    row = (_OWN if bits % 2 else "") + _FIXED * ((bits - 93 * (bits % 2)) % 8 // 2)
    return int(row[::-1] or "0", 2).to_bytes(-(-len(row) // 8), "little")  # the first bit is a byte's lowest


_EMPTY_BLOCKS = [_empty_blocks(bits) for bits in range(8)]


def _from_bit(data: bytes, bit: int) -> bytes:
    """Make deflate data of what follows from a bit of the first byte on."""
    before = _EMPTY_BLOCKS[bit % 8]
    return before[:-1] + bytes([before[-1] | data[0] >> bit % 8 << bit % 8]) + data[1:] if before else data


HEADER = 17 + 19 * 3  # bits of a dynamic block's header, up to the lengths of its code lengths' codes


def _candidates(piece: bytes) -> Iterator[int]:
    """Yield bits at which a stored or a dynamic block may begin, ascending; most are not one."""
    for first in range(0, len(piece) - HEADER, SEARCH):
        data = np.frombuffer(piece[first : first + SEARCH + HEADER], np.uint8)
        bits = np.unpackbits(data, bitorder="little")
        for bit in np.sort(np.concatenate([_dynamic_blocks(bits), _stored_blocks(data, bits)])).tolist():
            if bit < 8 * SEARCH:
                yield 8 * first + bit


def _dynamic_blocks(bits: np.ndarray) -> np.ndarray:
    """Find bits that may begin a block of type 2, with its own codes.

        bit      0      1 to 2   3 to 7         8 to 12         13 to 16              17 and on, 3 each
        is       last   type     literals-257   distances-1     lengths of codes-4    lengths of codes for lengths

    It is not the last block; has at most 286 literals and 30 distances; and its lengths use up all codes: of 7 bits there
    are 128, a code of n bits takes 128 >> n of them.
    """
    number = bits[:-3] + 2 * bits[1:-2] + 4 * bits[2:-1] + 8 * bits[3:]  # of the four bits from each
    places = np.flatnonzero(number[: len(bits) - HEADER] & 7 == 4)
    places = places[(number[places + 4] < 15) & (number[places + 9] < 15)]
    lengths = number[(places + 17)[:, None] + 3 * np.arange(19)] & 7
    shares = np.array([0, 64, 32, 16, 8, 4, 2, 1], np.uint16)[lengths]
    shares[np.arange(19) >= number[places + 13, None] + 4] = 0
    return places[shares.sum(1) == 128]


def _stored_blocks(data: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Find bits that may begin a block of type 0: not the last; then from a whole byte on its length and its complement."""
    low, high = data[:-1].astype(np.int64), data[1:].astype(np.int64)
    words = low | high << 8
    places = np.flatnonzero((words[:-2] ^ words[2:]) == 0xFFFF)
    places = places[(places > 0) & (words[places] > 0)]
    header = bits[8 * places[:, None] - 3 + np.arange(3)] if len(places) else np.zeros((0, 3), np.uint8)
    return 8 * places[~header.any(1)] - 3
