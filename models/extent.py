"""Where a file's sound lies and how much of it there is, whatever its header says: WAV, RF64, W64, AIFF, AU, CAF.

Recorders and pipes write the header before they know the length, and some count wrongly. libsndfile believes them. What is
found here lets it read the same sound behind a header that is right. FLAC, MP3 and Ogg are in `oscine.models.framed`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

TAIL = 2**20  # bytes at a file's end that are searched for metadata, where the header does not say where the sound ends
MOST = 1000  # chunks before the sound: a file of nothing else is hostile
LONGEST = 2**16  # bytes of a chunk that describes the format
LITTLE = 64  # bytes that are too few to be missed or found
PADDING = 2**16  # bytes of zeros behind the sound that fill up a disk's cluster
# Sizes that writers leave where they could not go back: 0, all ones, and 2 GB less or more a little (sox 0x7FFFF000, and
# 0x7F000000 in AIFF; arecord 0x80000000), a little because they round to whole frames and add the header.
GUESSES, NEAR = (0x7F000000, 2**31, 2**32), 2**13
ONES = b"\xff" * 4
UNKNOWN = 2**62  # and above, in fields of 64 bits
# Chunks that come after the sound: of these a part is enough to know that they are no sound.
METADATA = {
    b"LIST", b"guan", b"bext", b"iXML", b"id3 ", b"ID3 ", b"cue ", b"smpl", b"inst", b"JUNK", b"junk", b"PAD ", b"FLLR",
    b"fact", b"PEAK", b"_PMX", b"axml", b"chna", b"wamd", b"umid", b"levl", b"DISP", b"AFAn", b"acid", b"strc", b"afsp",
    b"info", b"free", b"MARK", b"COMT", b"NAME", b"AUTH", b"ANNO", b"INST", b"APPL", b"(c) ",
}  # fmt: skip
TAGS = (b"TAG", b"ID3", b"APETAGEX")  # metadata that is no chunk


class Extent(NamedTuple):
    """How much sound a file has, by its header and in fact, in bytes, samples or frames.

    stated                  what the header says; None where it leaves that open
    held                    what is there
    header, begin, length   a file of these bytes, then of `length` bytes of the file's from `begin`, says what is held
    note                    what else is to be said of the file, or ""
    """

    stated: int | None
    held: int
    header: bytes = b""
    begin: int = 0
    length: int = 0
    note: str = ""

    @property
    def right(self) -> bool:
        """Whether the header says what is there."""
        return self.stated == self.held


Order = Literal["little", "big"]


class Layout(NamedTuple):
    """How a container writes its chunks: a name, a size, then so many bytes. whole: the size counts its chunk's head."""

    order: Order
    first: int
    name: int
    size: int
    whole: bool
    align: int

    @property
    def head(self) -> int:
        return self.name + self.size

    def body(self, number: int) -> int:
        """Bytes that follow a chunk's head."""
        return number - self.head if self.whole else number

    def end(self, place: int, number: int) -> int:
        """Where the next chunk begins."""
        end = place + self.head + self.body(number)
        return end + -end % self.align


RIFF, RIFX = Layout("little", 12, 4, 4, False, 2), Layout("big", 12, 4, 4, False, 2)
W64, CAF = Layout("little", 40, 16, 8, True, 8), Layout("big", 8, 4, 8, False, 1)


def at(file: BinaryIO, place: int, count: int) -> bytes:
    """Read bytes from a place of a file, as many as there are."""
    file.seek(place)
    return file.read(max(0, count))


def chunked(file: BinaryIO, size: int) -> Extent | None:
    """Find the sound of a file that is made of chunks, or of AU; None for others, or where no sound begins."""
    head = at(file, 0, 40)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _wave(file, size, RIFF, b"fmt ", b"data")
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return _wave(file, size, RIFX, b"fmt ", b"data")
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _wave(file, size, W64, b"fmt ", b"data")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(file, size, head[8:12])
    if head[:4] == b"caff":
        return _caf(file, size, head[:8])
    if head[:4] in (b".snd", b"dns."):
        return _au(file, size, head)
    return None


def _wave(file: BinaryIO, size: int, layout: Layout, form: bytes, sound: bytes) -> Extent | None:
    known: dict[bytes, bytes] = {}
    for name, begin, number in _chunks(file, size, layout):
        if name[:4] == sound and form in known:
            body = layout.body(number)
            if number == 2**32 - 1 and b"ds64" in known:
                body = int.from_bytes(known[b"ds64"][8:16], "little")
            stated, held = _held(file, size, layout, begin, body)
            if layout is W64 and stated == held < size - begin:
                stated = None  # libsndfile takes what follows for sound, too
            return Extent(stated, held, _riff(layout, known[form], held), begin, held)
        if name[:4] in (form, b"ds64"):
            known[name[:4]] = at(file, begin, min(LONGEST, layout.body(number)))
    return None


def _riff(layout: Layout, form: bytes, held: int) -> bytes:
    """A WAV header for so many bytes; RF64's where 32 bits are too few."""
    size = 12 + 8 + len(form) + len(form) % 2 + 8 + held
    padded = form + bytes(len(form) % 2)
    if size < 2**32 - 2**8:
        order, magic = ("<", b"RIFF") if layout.order == "little" else (">", b"RIFX")
        number = struct.Struct(f"{order}I").pack
        return magic + number(size - 8) + b"WAVEfmt " + number(len(form)) + padded + b"data" + number(held)
    sizes = struct.pack("<IQQQI", 28, size + 28, held, 0, 0)
    return b"RF64" + ONES + b"WAVEds64" + sizes + b"fmt " + struct.pack("<I", len(form)) + padded + b"data" + ONES


def _aiff(file: BinaryIO, size: int, kind: bytes) -> Extent | None:
    common, sound = b"", None
    for name, begin, number in _chunks(file, size, RIFX):
        if name == b"COMM":
            common = at(file, begin, min(LONGEST, number))
        if name == b"SSND":
            offset = int.from_bytes(at(file, begin, 4), "big")
            sound = begin + 8 + offset, number - 8 - offset
        if sound and common:
            break
    if not sound or len(common) < 18 or sound[0] > size:
        return None
    stated, held = _held(file, size, RIFX, sound[0], sound[1])
    held = min(held, 2**32 - 2**10)  # AIFF has no longer form
    frame = int.from_bytes(common[:2], "big") * -(-int.from_bytes(common[6:8], "big") // 8)
    if frame and common[18:22] not in (b"GSM ", b"DWVW", b"ima4"):  # of those, frames are no number of bytes
        common = common[:2] + (held // frame).to_bytes(4, "big") + common[6:]
    body = kind + b"COMM" + struct.pack(">I", len(common)) + common + bytes(len(common) % 2)
    body += b"SSND" + struct.pack(">III", held + 8, 0, 0)
    return Extent(stated, held, b"FORM" + struct.pack(">I", len(body) + held) + body, sound[0], held)


def _caf(file: BinaryIO, size: int, magic: bytes) -> Extent | None:
    form = b""
    for name, begin, number in _chunks(file, size, CAF):
        if name == b"desc":
            form = at(file, begin, min(LONGEST, number))
        if name == b"pakt" or (form and form[8:12] not in (b"lpcm", b"ulaw", b"alaw")):
            return None  # packets of several lengths, which have a table
        if name == b"data" and form:
            stated, held = _held(file, size, CAF, begin + 4, number - 4)  # after a count of edits
            header = magic + b"desc" + struct.pack(">Q", len(form)) + form + b"data" + struct.pack(">QI", held + 4, 0)
            return Extent(stated, held, header, begin + 4, held)
    return None


def _au(file: BinaryIO, size: int, head: bytes) -> Extent | None:
    order: Order = "big" if head[:4] == b".snd" else "little"
    begin, number = (int.from_bytes(head[place : place + 4], order) for place in (4, 8))
    if not 24 <= begin <= size:
        return None
    held = size - begin
    padded = number < held and _is_padding(file, size, begin + number)
    if padded:
        held = number
    stated = None if padded or _unknown(number) or _same(number, held, begin) else number
    header = head[:4] + (24).to_bytes(4, order) + min(held, 2**32 - 1).to_bytes(4, order) + head[12:24]
    return Extent(stated, held, header, begin, held)


def _chunks(file: BinaryIO, size: int, layout: Layout) -> Iterator[tuple[bytes, int, int]]:
    """Names of chunks, where their contents begin, and their sizes as they are written."""
    place = layout.first
    for _ in range(MOST):
        head = at(file, place, layout.head)
        if len(head) < layout.head:
            return
        number = int.from_bytes(head[layout.name :], layout.order)
        yield head[: layout.name], place + layout.head, number
        following = layout.end(place, number)
        if not place < following < size:
            return
        place = following


def _held(file: BinaryIO, size: int, layout: Layout, begin: int, stated: int) -> tuple[int | None, int]:
    """Bytes of sound from `begin`, as stated and in fact; None where the header leaves that open."""
    known = None if _unknown(stated) else stated
    if known is None and _is_metadata(file, size, layout, begin, 0):
        return 0, 0
    if known is not None and begin + known <= size and _is_metadata(file, size, layout, begin + known, LITTLE):
        return known, known
    held = _before_metadata(file, size, layout, begin)
    return (None if _same(known, held, begin) else known), held


def _same(stated: int | None, there: int, begin: int) -> bool:
    """Whether a size is meant to be what is there: some writers forget padding, some count the header up to `begin`, too."""
    near = stated is not None and (abs(stated - there) <= LITTLE or stated - there in (begin, begin - 8))
    return near and stated != there


def _unknown(number: int) -> bool:
    return number <= 0 or number >= UNKNOWN or any(abs(number - guess) <= NEAR for guess in GUESSES)


def _is_metadata(file: BinaryIO, size: int, layout: Layout, place: int, slack: int) -> bool:
    """Whether what follows is chunks up to the end of the file, or tags, or padding, and no sound.

    slack: bytes that are too few to be sound.
    """
    place += -place % layout.align if place < size else 0
    for number in range(MOST):
        rest = size - place
        if rest <= (layout.head if number else slack):
            return rest <= slack or number > 0
        head = at(file, place, layout.head)
        if head.startswith(TAGS) or _is_padding(file, size, place):
            return True
        if len(head) < layout.head or not _is_name(head[:4]):
            return False
        following = layout.end(place, int.from_bytes(head[layout.name :], layout.order))
        if following <= place:
            return False
        if following >= size:
            return following - size < layout.align or head[:4] in METADATA
        place = following
    return True


def _is_padding(file: BinaryIO, size: int, place: int) -> bool:
    return size - place <= PADDING and not any(at(file, place, size - place))


def _is_name(name: bytes) -> bool:
    return all(32 <= byte < 127 for byte in name)


def _before_metadata(file: BinaryIO, size: int, layout: Layout, begin: int) -> int:
    """Bytes from `begin` to the first of a row of chunks that ends with the file, or to the end where there is none."""
    first = max(begin, size - TAIL)
    tail = np.frombuffer(at(file, first, size - first), np.uint8)
    if len(tail) < layout.head:
        return max(0, size - begin)
    places = np.flatnonzero(_names(tail, len(tail) - layout.head + 1))
    digits = tail[places[:, None] + layout.name + np.arange(layout.size)].astype(np.float64)
    weights = 256.0 ** np.arange(layout.size)
    bodies = digits @ (weights if layout.order == "little" else weights[::-1]) - (layout.head if layout.whole else 0)
    ends = places + layout.head + bodies
    fitting = (bodies >= 0) & (ends <= len(tail))
    begins = {len(tail)}
    for place, end in zip(places[fitting][::-1].tolist(), ends[fitting][::-1].astype(int).tolist()):
        if not begins.isdisjoint(range(end, end + layout.align)):
            begins.add(place)
    return first + min(begins) - begin


def _names(tail: np.ndarray, count: int) -> np.ndarray:
    """Where four bytes that can be printed stand."""
    printed = (tail >= 32) & (tail < 127)
    return np.logical_and.reduce([printed[shift : shift + count] for shift in range(4)])
