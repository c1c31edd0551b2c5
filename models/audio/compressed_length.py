"""Find how much sound FLAC, MP3 and Ogg files have, by their last frames, whatever their first ones say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice, takewhile
from typing import BinaryIO, NamedTuple

import numpy as np

from oscine.models.audio.pcm_length import Extent, before_tags, read_at

# Bytes at the end of a FLAC file that are searched for its last frame, at first and at most: a frame has up to 1.6 MB.
SEARCH, MOST = 2**15, 2**21
TRIED = 256  # places like a frame's head, the last ones, that are tried
BEYOND = 4  # of those behind one, at which its frame may end
PAGE = 2**16  # bytes at the end of an Ogg file: a page has at most 65,307
SHARE = 0.8  # of an Ogg file that its last stream must have by its pages' number for no other to be looked for
JUNK = 2**16  # bytes before an MP3 file's first frame
DECODER = 529  # samples by which decoders of MP3 are late; they leave them out where LAME says how late it is itself
RESYNC = 1024  # bytes without a frame after which decoders of MP3 give up
RATES = (44100, 48000, 32000)  # of MPEG-1; half of it in MPEG-2, a quarter in 2.5
SAMPLES = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)  # of a FLAC frame
BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # of layer III, in MPEG-1
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # in MPEG-2 and 2.5
)


def measure_compressed(file: BinaryIO, size: int) -> Extent | None:
    """Find the sound of a FLAC, Ogg or MP3 file; None for others, and where its header needs no help."""
    begin = after_tags(file)
    head = read_at(file, begin, 4)
    if head == b"fLaC":
        return _flac(file, before_tags(file, size), begin)
    if head == b"OggS":
        return _ogg(file, size, begin)
    return _mp3(file, size, begin)


def after_tags(file: BinaryIO) -> int:
    """Find where a file begins behind its ID3 tags."""
    place = 0
    for _ in range(8):
        head = read_at(file, place, 10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            break
        size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
        place += 10 + size + (10 if head[5] & 16 else 0)
    return place


# FLAC (RFC 9639): the first block has the number of samples, a frame its own number or that of its first sample


class Streaminfo(NamedTuple):
    """The content of a FLAC's first block. block: samples of a frame, if all have as many."""

    block: int
    rate: int
    channels: int
    bits: int
    samples: int


class Frame(NamedTuple):
    """A FLAC frame that begins at `place`: which samples it has."""

    place: int
    first: int
    samples: int


def _flac(file: BinaryIO, size: int, begin: int) -> Extent | None:
    block = read_at(file, begin, 42)
    if len(block) < 42 or block[4] & 127:  # another block than the one that must come first
        return None
    packed = int.from_bytes(block[18:26], "big")
    known = Streaminfo(
        int.from_bytes(block[10:12], "big"), packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1,
        packed & (2**36 - 1),
    )  # fmt: skip
    held = _flac_samples(file, size, begin + 42, known)
    if held is None:
        return None
    total = (packed >> 36 << 36 | min(held, 2**36 - 1)).to_bytes(8, "big")
    header = block[:18] + total + block[26:]
    return Extent(known.samples or None, held, header, begin + 42, size - begin - 42)


def _flac_samples(file: BinaryIO, size: int, begin: int, known: Streaminfo) -> int | None:
    """Count samples up to the end of the last whole frame; None where there is none to be found."""
    length = SEARCH
    while length <= MOST:
        first = max(begin, size - length)
        data = read_at(file, first, size - first)
        heads = re.finditer(b"\xff[\xf8\xf9]", data)
        frames = [frame for head in heads if (frame := _frame(data, head.start(), known))][-TRIED:]
        ends = [frame.place for frame in frames[1:]] + [len(data)]
        for number in reversed(range(len(frames))):
            frame = frames[number]
            # Within a frame something may look like another's head, about once in 20,000 frames.
            if any(not _crc16(data[frame.place : end]) for end in ends[number : number + BEYOND]):
                return frame.first + frame.samples
            last = number >= len(frames) - BEYOND and frame.first + frame.samples == known.samples
            if last and _ends_within(data[frame.place :]):
                return known.samples
        length *= 4
    return None


def _ends_within(data: bytes) -> bool:
    """Return whether a frame ends before `data` does, which then goes on with something else than tags.

    By its checksum alone, which comes by chance once in 65,536 bytes; a frame has about 10,000.
    """
    crc, table = 0, CRC16.tolist()
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ table[crc >> 8 ^ byte]
        if not crc:
            return True
    return False


def _frame(data: bytes, place: int, known: Streaminfo) -> Frame | None:
    head = data[place : place + 16].ljust(16, b"\0")  # a frame of silence has 10 bytes
    sizes, channels, bits = head[2] >> 4, head[3] >> 4, head[3] >> 1 & 7
    if (2 if channels > 7 else channels + 1) != known.channels or not sizes or channels > 10 or head[3] & 1:
        return None
    if bits and (0, 8, 12, 0, 16, 20, 24, 32)[bits] != known.bits:
        return None
    ones = 8 - (head[4] ^ 255).bit_length()  # the number is written as UTF-8 writes characters, in up to 7 bytes
    if ones in (1, 8) or any(byte >> 6 != 2 for byte in head[5 : 4 + max(1, ones)]):
        return None
    number = head[4] if not ones else head[4] & (127 >> ones)
    for byte in head[5 : 4 + ones]:
        number = number << 6 | byte & 63
    after = 4 + max(1, ones)
    written = sizes - 5 if sizes in (6, 7) else 0  # bytes behind the number that say how many samples there are
    samples = SAMPLES[sizes] or int.from_bytes(head[after : after + written], "big") + 1
    after += written
    after += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if _crc8(head[:after]) != head[after]:
        return None
    return Frame(place, number if head[1] & 1 else number * known.block, samples)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = CRC8[crc ^ byte]
    return crc


def _crc16(data: bytes) -> int:
    """Compute a checksum: 0 of a whole frame, which ends with its own. Bytes are joined in pairs, pairs in fours, ..."""
    crcs = CRC16[np.frombuffer(data, np.uint8)]
    for shift in _shifts():
        if len(crcs) < 2:
            break
        if len(crcs) % 2:
            crcs = np.concatenate([crcs[:1] * 0, crcs])  # zeros at the beginning change nothing
        crcs = shift[crcs[::2]] ^ crcs[1::2]
    return int(crcs[0]) if len(crcs) else 0


@cache
def _shifts() -> list[np.ndarray]:  # of [65536]
    """Compute what becomes of every checksum when 1, 2, 4, ... bytes of zeros follow, up to MOST."""
    every = np.arange(2**16, dtype=np.uint16)
    shifts = [every << 8 ^ CRC16[every >> 8]]
    while 2 ** len(shifts) <= MOST:
        shifts.append(shifts[-1][shifts[-1]])
    return shifts


def _table(polynomial: int, bits: int) -> list[int]:
    """Make a checksum's table, from the highest bit down."""
    table = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc >> bits - 1 else crc << 1) & (1 << bits) - 1
        table.append(crc)
    return table


CRC8, CRC16 = _table(0x07, 8), np.array(_table(0x8005, 16), np.uint16)


# Ogg (RFC 3533): the length stands in the last page; a file may be several files one behind another


def _ogg(file: BinaryIO, size: int, begin: int) -> Extent:
    end = before_tags(file, size)
    tail = read_at(file, max(begin, end - PAGE), min(PAGE, end - begin))
    note = "" if _ends_in_last_page(tail) else "truncated: its last Ogg page is missing; copy it again for the rest"
    pieces = () if _is_one_stream(file, tail, begin, end) else _ogg_pieces(file, begin, end)
    return Extent(0, 0, note=note, pieces=pieces if len(pieces) > 1 else ())


def _is_one_stream(file: BinaryIO, tail: bytes, begin: int, end: int) -> bool:
    """Return whether the last page is of a stream that begins the file, and one of as many pages as fit in."""
    last = tail[tail.rfind(b"OggS\0") :]
    # The streams that begin with the file have their first pages before all others.
    first = takewhile(lambda page: page[1][5] & 2, islice(_pages(file, begin, end), 64))
    if end - begin <= PAGE or last[14:18] not in {head[14:18] for _, head in first}:
        return False
    # Another stream may have the same number, but its last page then comes too early: pages are of about one length.
    pages = int.from_bytes(last[18:22], "little") + 1
    return pages * len(tail) / max(1, tail.count(b"OggS\0")) > SHARE * (end - begin)


def _pages(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield where pages begin, and their heads, as long as they follow one another."""
    place = begin
    while place < end and (head := read_at(file, place, 27)).startswith(b"OggS") and len(head) == 27:
        length = 27 + head[26] + sum(file.read(head[26]))
        yield place, head
        place += length


def _ogg_pieces(file: BinaryIO, begin: int, end: int) -> tuple[int, ...]:
    """Find where files begin that are one behind another: at a stream's first page that no other's first page is before."""
    places, first = [], False
    for place, head in _pages(file, begin, end):
        if head[5] & 2 and not first:
            places.append(place)
        first = bool(head[5] & 2)
    return tuple(places)


def _ends_in_last_page(tail: bytes) -> bool:
    """Return whether the end of an Ogg file is a whole page that is marked as its stream's last (RFC 3533, section 6)."""
    begin = tail.rfind(b"OggS\0")
    page = tail[begin:] if begin >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


# MP3: the first frame may hold no sound but the number of frames, as LAME and Xing write it; without it decoders guess


class Head(NamedTuple):
    """Of an MP3 frame: its length in bytes; where its sound begins; samples; what all frames of a file share."""

    length: int
    sound: int
    samples: int
    kind: int


def _mp3(file: BinaryIO, size: int, begin: int) -> Extent | None:
    start = read_at(file, begin, JUNK)
    places = range(len(start) - 4) if begin else [0]  # behind tags there may be some junk
    found = next((place for place in places if _is_first(start, place)), None)
    if found is None:
        return None
    begin, first = begin + found, start[found:]
    head = _mp3_head(first)
    assert head is not None, "it has just been found"
    end = before_tags(file, size)
    tag = Numbers.read(first[head.sound : head.sound + 144])
    if tag is None:
        return _mp3_without_number(file, begin, end, first[:4], head)
    # Of a frame like the first one at the lowest and the highest bitrate of its row.
    others = [_mp3_head(bytes([first[0], first[1], first[2] & 0x0C | bitrate << 4, first[3]])) for bitrate in (1, 14)]
    shortest, longest = (other.length if other else 0 for other in others)
    if (
        abs(tag.length - (end - begin)) <= longest
        and tag.frames * shortest <= end - begin <= (tag.frames + 2) * longest
    ):
        # The decoder counts tags behind the sound, too, and says on the terminal that there is more than the header says.
        return None if end == size else Extent(None, 0, begin=0, length=end)
    held, note = _count(file, begin + head.length, end, head.kind)
    header = first[: head.sound] + tag.write(held, end - begin)
    # By bytes alone a file is not judged.
    stated = tag.frames * head.samples - tag.delay - tag.padding if tag.frames not in (0, held) else None
    samples = held * head.samples - tag.delay - (DECODER if tag.delay else 0)
    return Extent(stated, max(0, samples), header, begin + len(header), end - begin - len(header), note)


class Numbers(NamedTuple):
    """The numbers in an MP3's first frame about the others. delay, padding: samples at both ends that are no sound."""

    content: bytes  # from its name on
    frames: int
    length: int  # of the file, in bytes
    delay: int
    padding: int
    lame: int  # where LAME's part is in `content`

    @classmethod
    def read(cls, content: bytes) -> Numbers | None:
        if content[:4] not in (b"Xing", b"Info"):
            return None
        flags, *numbers = (int.from_bytes(content[place : place + 4], "big") for place in (4, 8, 12))
        frames, length = (numbers[0] if flags & 1 else 0), (numbers[flags & 1] if flags & 2 else 0)
        lame = 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
        ends = int.from_bytes(content[lame + 21 : lame + 24], "big") if content[lame : lame + 4].isalnum() else 0
        return cls(content, frames, length, ends >> 12, ends & 4095, lame)

    def write(self, frames: int, length: int) -> bytes:
        """Write the same with other numbers, where it has room for both."""
        flags = int.from_bytes(self.content[4:8], "big")
        if flags & 3 != 3:
            return self.content[:4] + b"".join(number.to_bytes(4, "big") for number in (3, frames, length))
        made = bytearray(self.content)
        made[8:16] = frames.to_bytes(4, "big") + length.to_bytes(4, "big")
        if frames != self.frames and (
            self.delay or self.padding
        ):  # the padding went with the end, or is sound now that more follows
            made[self.lame + 21 : self.lame + 24] = (self.delay << 12).to_bytes(3, "big")
        return bytes(made)


def _mp3_without_number(file: BinaryIO, begin: int, end: int, first: bytes, head: Head) -> Extent:
    """Put a frame with the number of frames before the first one."""
    held, note = _count(file, begin, end, head.kind)
    # Without a checksum, and of a bitrate (128 or 80) at which the numbers fit in.
    start = bytes([first[0], first[1] | 1, first[2] & 0x0D | 0x90, first[3]])
    ours = _mp3_head(start)
    assert ours is not None, "it has the kind of the first one"
    numbers = b"".join(value.to_bytes(4, "big") for value in (3, held, end - begin + ours.length))
    frame = (start + bytes(ours.sound - 4) + b"Xing" + numbers).ljust(ours.length, b"\0")
    return Extent(None, held, frame, begin, end - begin, note)


def _is_first(data: bytes, place: int) -> bool:
    """Return whether a frame begins there, and another of its kind behind it."""
    if data[place] != 0xFF or not (head := _mp3_head(data[place : place + 4])):
        return False
    following = _mp3_head(data[place + head.length : place + head.length + 4])
    return following is not None and following.kind == head.kind


def _mp3_head(data: bytes) -> Head | None:
    """Of layer III alone: the others have no number of frames, and the same length in every frame."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = data[1] >> 3 & 3, data[2] >> 4, data[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = RATES[rate] >> (3 - version if version else 2)
    length = (144 if first else 72) * 1000 * BITRATES[not first][bitrate] // hertz + (data[2] >> 1 & 1)
    mono = data[3] >> 6 == 3
    sound = 4 + (0 if data[1] & 1 else 2) + (17 if first == mono else 32 if first else 9)
    return Head(length, sound, 1152 if first else 576, (data[1] & 0xFE) << 8 | data[2] & 0x0C)


def _count(file: BinaryIO, begin: int, end: int, kind: int) -> tuple[int, str]:
    """Count whole frames of a kind between two places; and note where they end before."""
    count, place, data, first, good = 0, begin, b"", begin, begin
    while place + 4 <= end:
        if place + 4 - first > len(data):
            first, data = place, read_at(file, place, min(2**18, end - place))
            if len(data) < 4:
                break
        if place - good > RESYNC:
            return (
                count,
                f"damaged: has no frames of its kind from byte {good:,} of {end:,} on; copy it again for the rest",
            )
        head = _mp3_head(data[place - first : place - first + 4])
        if head and head.kind == kind:
            if place + head.length > end:
                break
            count += 1
            good = place = place + head.length
        else:  # damaged, or something between: go on where a frame may begin
            following = data.find(b"\xff", place - first + 1)
            place = first + (following if following >= 0 else len(data))
    return count, ""
