"""Find where the sound of WAV, RF64, W64, AIFF, AU and CAF files lies, whatever their headers say.

Recorders and pipes write the header before they know the length, and some count wrongly. libsndfile believes them. What is
found here lets it read the same sound behind a header that is right. FLAC, MP3 and Ogg: `compressed_length.py`.
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
PADDING = 2**16  # bytes of zeros behind the sound that fill up a disk's cluster; more of them are said
# Sizes that writers leave where they could not go back, all of them or rounded down to whole blocks, some with the header
# counted, too: sox (in AIFF and in WAV), GStreamer, arecord (of before and of today), and what 32 bits hold at most.
GUESSES = (0x7F000000, 0x7FFF0000, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
ONES = b"\xff" * 4
UNKNOWN = 2**62  # and above, in fields of 64 bits
# Chunks that come after the sound: of these a part is enough to know that they are no sound.
METADATA = {
    b"LIST", b"guan", b"bext", b"iXML", b"id3 ", b"ID3 ", b"cue ", b"smpl", b"inst", b"JUNK", b"junk", b"PAD ", b"FLLR",
    b"fact", b"PEAK", b"_PMX", b"axml", b"chna", b"wamd", b"umid", b"levl", b"DISP", b"AFAn", b"acid", b"strc", b"afsp",
    b"info", b"free", b"MARK", b"COMT", b"NAME", b"AUTH", b"ANNO", b"INST", b"APPL", b"(c) ",
}  # fmt: skip
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # metadata that is no chunk
TAGS_AT_MOST = 16  # one behind another, at a file's end
LYRICS = 5100  # bytes of lyrics in the first form of Lyrics3, which does not say how many


class Extent(NamedTuple):
    """How much sound a file has, by its header and in fact, in bytes, samples or frames.

    stated                  what the header says; None where it leaves that open
    held                    what is there
    header, begin, length   a file of these bytes, then of `length` bytes of the file's from `begin`, says what is held
    note                    what else is to be said of the file, or ""
    zeros                   bytes of them behind the sound, where the header does not say that they are sound
    whole                   whether the file is as long as its header says, though the sound is not
    pieces                  where in the file pieces begin that are files of their own, if it is made of several
    """

    stated: int | None
    held: int
    header: bytes = b""
    begin: int = 0
    length: int = 0
    note: str = ""
    zeros: int = 0
    whole: bool = False
    pieces: tuple[int, ...] = ()

    @property
    def right(self) -> bool:
        """Return whether the header says what is there."""
        return self.stated == self.held


Order = Literal["little", "big"]


class Layout(NamedTuple):
    """How a container writes its chunks: a name, a size, then that many bytes. whole: the size counts its chunk's head."""

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
        """Count the bytes that follow a chunk's head."""
        return number - self.head if self.whole else number

    def end(self, place: int, number: int) -> int:
        """Find where the next chunk begins."""
        end = place + self.head + self.body(number)
        return end + -end % self.align


RIFF, RIFX = Layout("little", 12, 4, 4, False, 2), Layout("big", 12, 4, 4, False, 2)
W64, CAF = Layout("little", 40, 16, 8, True, 8), Layout("big", 8, 4, 8, False, 1)


class Sound(NamedTuple):
    """The sound's chunk as a header has it.

    begin   where its content begins in the file
    stated  how many bytes it has; field: the number as it is written, which may count more
    block   bytes that belong together
    end     of the file, as its first bytes say
    """

    begin: int
    stated: int
    field: int
    block: int
    end: int = 0


def read_at(file: BinaryIO, place: int, count: int) -> bytes:
    """Read bytes from a place of a file, as many as there are."""
    file.seek(place)
    return file.read(max(0, count))


def measure_pcm(file: BinaryIO, size: int) -> Extent | None:
    """Find the sound of a file that is made of chunks, or of AU; None for others, or where no sound begins."""
    head = read_at(file, 0, 40)
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
            body, end = layout.body(number), _end(file, layout)
            if number == 2**32 - 1 and b"ds64" in known:
                end, body = (int.from_bytes(known[b"ds64"][place : place + 8], "little") for place in (0, 8))
                number, end = body, end + 8
            block = int.from_bytes(known[form][12:14], layout.order)
            found = _held(file, size, layout, Sound(begin, body, number, max(1, block), end))
            found = _without_rest(found, size) if layout is W64 else found
            return found._replace(header=_riff(layout, known[form], found.held))
        if name[:4] in (form, b"ds64"):
            known[name[:4]] = read_at(file, begin, min(LONGEST, layout.body(number)))
    return None


def _end(file: BinaryIO, layout: Layout) -> int:
    """Read where a file ends, as its first bytes say."""
    if layout is W64:
        return int.from_bytes(read_at(file, 16, 8), "little")
    return 8 + int.from_bytes(read_at(file, 4, 4), layout.order)


def _riff(layout: Layout, form: bytes, held: int) -> bytes:
    """Make a WAV header for a number of bytes; RF64's where 32 bits are too few."""
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
            common = read_at(file, begin, min(LONGEST, number))
        if name == b"SSND":
            offset = int.from_bytes(read_at(file, begin, 4), "big")
            sound = Sound(begin + 8 + offset, number - 8 - offset, number, 1, _end(file, RIFX))
        if sound and common:
            break
    if not sound or len(common) < 18 or sound.begin > size:
        return None
    frame = int.from_bytes(common[:2], "big") * -(-int.from_bytes(common[6:8], "big") // 8)
    found = _held(file, size, RIFX, sound._replace(block=max(1, frame)))
    held = min(found.held, 2**32 - 2**10)  # AIFF has no longer form
    if frame and common[18:22] not in (b"GSM ", b"DWVW", b"ima4"):  # of those, frames are no number of bytes
        common = common[:2] + (held // frame).to_bytes(4, "big") + common[6:]
    body = kind + b"COMM" + struct.pack(">I", len(common)) + common + bytes(len(common) % 2)
    body += b"SSND" + struct.pack(">III", held + 8, 0, 0)
    header = b"FORM" + struct.pack(">I", len(body) + held) + body
    return found._replace(held=held, header=header, length=held)


def _caf(file: BinaryIO, size: int, magic: bytes) -> Extent | None:
    form = b""
    for name, begin, number in _chunks(file, size, CAF):
        if name == b"desc":
            form = read_at(file, begin, min(LONGEST, number))
        if name == b"pakt" or (form and form[8:12] not in (b"lpcm", b"ulaw", b"alaw")):
            return None  # packets of several lengths, which have a table
        if name == b"data" and form:
            block = int.from_bytes(form[16:20], "big")
            # After a count of edits.
            found = _held(file, size, CAF, Sound(begin + 4, number - 4, number, max(1, block)))
            length = struct.pack(">QI", found.held + 4, 0)
            header = magic + b"desc" + struct.pack(">Q", len(form)) + form + b"data" + length
            return found._replace(header=header)
    return None


def _au(file: BinaryIO, size: int, head: bytes) -> Extent | None:
    order: Order = "big" if head[:4] == b".snd" else "little"
    begin, number, channels = (int.from_bytes(head[place : place + 4], order) for place in (4, 8, 20))
    if not 24 <= begin <= size:
        return None
    # No chunks follow; a block is as long as that of any of its codecs.
    found = _without_rest(_held(file, size, None, Sound(begin, number, number, 24 * max(1, channels))), size)
    header = head[:4] + (24).to_bytes(4, order) + min(found.held, 2**32 - 1).to_bytes(4, order) + head[12:24]
    return found._replace(header=header)


def _chunks(file: BinaryIO, size: int, layout: Layout) -> Iterator[tuple[bytes, int, int]]:
    """Yield names of chunks, where their contents begin, and their sizes as they are written."""
    place = layout.first
    for _ in range(MOST):
        head = read_at(file, place, layout.head)
        if len(head) < layout.head:
            return
        number = int.from_bytes(head[layout.name :], layout.order)
        yield head[: layout.name], place + layout.head, number
        following = layout.end(place, number)
        if not place < following < size:
            return
        place = following


def _held(file: BinaryIO, size: int, layout: Layout | None, sound: Sound) -> Extent:
    """Find what is there of a sound, without a header for it. layout: of the chunks that may follow, if any."""
    begin, stated, whole = sound.begin, sound.stated, abs(sound.end - size) <= LITTLE
    size = size if begin + stated == size else before_tags(file, size)
    is_open = _is_open(sound, stated) or _is_open(sound, sound.field)
    if is_open:
        if _is_metadata(file, size, layout, begin, 0):
            return Extent(None, 0, begin=begin)
        # Up to the end of the file, as its first bytes say, unless they leave that open, too.
        stated = sound.end - begin
        stated = 0 if _is_open(sound, stated) or _is_open(sound, sound.end - 8) else stated
    end = stop = begin + stated
    if not _is_metadata(file, size, layout, stop, LITTLE):
        end = _before_zeros(file, min(stop, size), size)
        end = min(size, end + -(end - stop) % sound.block)
    elif not is_open:
        return Extent(stated, stated, begin=begin, length=stated)
    held = stated if end == stop and not is_open else _before_metadata(file, end, layout, begin)
    # Some writers forget padding, some count the header up to `begin`, too: what is there is meant.
    meant = stated != held and (abs(stated - held) <= LITTLE or stated - held in (begin, begin - 8))
    said = None if (is_open and end == stop) or not stated or meant else stated
    zeros = size - end if size - end > PADDING else 0
    return Extent(said, held, begin=begin, length=held, zeros=zeros, whole=whole)


def _without_rest(found: Extent, size: int) -> Extent:
    """Of some files libsndfile takes for sound what follows it, too, whatever the header says: give them another one."""
    return found._replace(stated=None) if found.right and found.held < size - found.begin else found


def _is_open(sound: Sound, number: int) -> bool:
    """Return whether a size is one that writers leave where they do not know it."""
    if number <= 0 or number >= UNKNOWN or number in GUESSES:
        return True
    whole_blocks = any(number == guess - guess % sound.block for guess in GUESSES)
    # As if the file were as long as 31 or 32 bits can say.
    return whole_blocks or any(ones - number in (sound.begin - 8, sound.begin) for ones in (2**31 - 1, 2**32 - 1))


def _is_metadata(file: BinaryIO, size: int, layout: Layout | None, place: int, slack: int) -> bool:
    """Return whether what follows is chunks up to the end of the file, or tags, or padding, and no sound.

    slack: bytes that are too few to be sound.
    """
    if place > size:
        return False
    place += -place % layout.align if layout and place < size else 0
    for number in range(MOST):
        rest = size - place
        if rest <= (layout.head if layout and number else slack):
            return rest <= slack or number > 0
        head = read_at(file, place, layout.head if layout else 16)
        padding = rest <= PADDING and not read_at(file, place, rest).strip(b"\0")
        if head.startswith(TAGS) or padding:
            return True
        if not layout or len(head) < layout.head or not all(32 <= byte < 127 for byte in head[:4]):
            return False
        following = layout.end(place, int.from_bytes(head[layout.name :], layout.order))
        if following <= place:
            return False
        if following >= size:
            return following - size < layout.align or head[:4] in METADATA
        place = following
    return True


def _before_zeros(file: BinaryIO, first: int, size: int) -> int:
    """Find where the zeros begin that a file ends with, at `first` at the earliest; its end where they are few.

    They are looked for from `first` on, since in a tar.gz going back is slow.
    """
    if size - first <= PADDING or read_at(file, size - PADDING, PADDING).strip(b"\0"):
        return size
    end = first
    for place in range(first, size, TAIL):
        content = read_at(file, place, min(TAIL, size - place)).rstrip(b"\0")
        if content:
            end = place + len(content)
    return end


def before_tags(file: BinaryIO, size: int) -> int:
    """Find where a file ends before the tags behind its sound, in any order: ID3, APE and Lyrics3."""
    end = size
    for _ in range(TAGS_AT_MOST):
        first = max(0, end - 128)
        length = _last_tag(file, read_at(file, first, end - first), end)
        if not 0 < length <= end:
            break
        end -= length
    return end


def _last_tag(file: BinaryIO, tail: bytes, end: int) -> int:
    """Count the bytes of the tag that ends a file, of which `tail` are the last bytes up to `end`; 0 where none does."""
    if len(tail) == 128 and tail.startswith(b"TAG"):
        return 355 if end >= 355 and read_at(file, end - 355, 4) == b"TAG+" else 128
    if tail[-32:-24] == b"APETAGEX":
        return int.from_bytes(tail[-20:-16], "little") + (32 if tail[-9] & 128 else 0)
    if tail[-10:-7] == b"3DI" and max(tail[-4:]) < 128:  # ID3v2 that is read from its end
        return 20 + sum(byte << shift for byte, shift in zip(tail[-4:], (21, 14, 7, 0)))
    if tail.endswith(b"LYRICS200") and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    if tail.endswith(b"LYRICSEND"):
        before = read_at(file, max(0, end - LYRICS - 20), min(end, LYRICS + 20))
        return len(before) - before.rfind(b"LYRICSBEGIN") if b"LYRICSBEGIN" in before else 0
    return 0


def _before_metadata(file: BinaryIO, size: int, layout: Layout | None, begin: int) -> int:
    """Count bytes from `begin` to the first of a row of chunks that ends with the file, else to the end."""
    if layout is None:
        return max(0, size - begin)
    first = max(begin, size - TAIL)
    tail = np.frombuffer(read_at(file, first, size - first), np.uint8)
    if len(tail) < layout.head:
        return max(0, size - begin)
    # A name is four bytes that can be printed.
    printed, count = (tail >= 32) & (tail < 127), len(tail) - layout.head + 1
    places = np.flatnonzero(np.logical_and.reduce([printed[shift : shift + count] for shift in range(4)]))
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
