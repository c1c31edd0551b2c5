"""Open recordings for reading: by libsndfile, whose errors then name them, or several as one."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import soundfile

from oscine.models.audio.file_parts import Part
from oscine.models.text.words import counted

BLOCK = 2**16  # frames that are decoded at a time
# Bytes that are read at a time: a clip is a few reads, and a disk on the network takes its time for each.
BUFFER = 2**17
# libsndfile misses its mark within the last page of an Ogg, by as much as the end of the stream cuts off that page. A page
# holds up to 255 packets, which bring up to 1024 frames each with the usual encoders.
LAST_PAGE = 255 * 1024
PIECES = 100  # that may be one behind another in a file, all of them open at once


class OpenRecording(soundfile.SoundFile):
    """A recording, open for reading, whose errors name it.

    note: what is to be said of it though it can be read, or "".
    """

    def __init__(self, given: str | bytes | BinaryIO, path: str | Path, under: BinaryIO) -> None:
        self.path, self.given, self.under, self.note = path, given, under, ""
        super().__init__(given)  # pyright: ignore[reportArgumentType]

    @property
    def name(self) -> str:
        return os.fsdecode(self.path)

    @property
    def error(self) -> Exception | None:
        """The reason why the file could not be read, if so."""
        return error_of(self.given) or error_of(self.under)

    def close(self) -> None:
        super().close()
        self.under.close()

    def seekable(self) -> bool:
        """No: else soundfile seeks after every read, and a decoder of MP3 begins anew in the middle of the sound."""
        return False

    def go_to(self, frame: int) -> None:
        """Read from that frame on; formats that cannot seek are read from their beginning."""
        if super().seekable():
            self.seek(frame)
            return
        super().close()
        if not isinstance(self.given, (str, bytes)):
            self.given.seek(0)
        super().__init__(self.given)  # pyright: ignore[reportArgumentType]
        self.pass_over(frame)

    def pass_over(self, frames: int) -> None:
        """Decode frames and throw them away."""
        while frames > 0 and (read := len(self.read(min(frames, BLOCK)))):
            frames -= read


class ChainedRecordings:
    """Recordings of one rate and as many channels that are one behind another in a file, as one; see `OpenRecording`."""

    format = "OGG"

    def __init__(self, pieces: Sequence[OpenRecording], under: BinaryIO, note: str) -> None:
        self.pieces, self.under, self.note = pieces, under, note
        self.path, self.samplerate, self.channels = pieces[0].path, pieces[0].samplerate, pieces[0].channels
        self.ends = list(accumulate(piece.frames for piece in pieces))
        self.frames, self.piece, self.left = self.ends[-1], 0, pieces[0].frames

    @property
    def error(self) -> Exception | None:
        return next((error for piece in self.pieces if (error := piece.error)), None)

    def go_to(self, frame: int) -> None:
        self.piece = min(bisect_right(self.ends, frame), len(self.pieces) - 1)
        piece = self.pieces[self.piece]
        self.left = self.ends[self.piece] - frame
        place = piece.frames - self.left
        begin = max(0, min(place, piece.frames - LAST_PAGE))
        piece.go_to(begin)
        piece.pass_over(place - begin)

    def read(self, out: np.ndarray) -> np.ndarray:  # [frames, channels]
        """Fill an array with the next frames; return the part of it that was filled."""
        done = 0
        while done < len(out):
            if not self.left:
                if self.piece + 1 == len(self.pieces):
                    break
                self.go_to(self.ends[self.piece])
            count = min(self.left, len(out) - done)
            read = len(self.pieces[self.piece].read(out=out[done : done + count]))
            done, self.left = done + read, self.left - read
            if read < count:
                break
        return out[:done]

    def close(self) -> None:
        for piece in self.pieces:
            piece.close()
        self.under.close()

    def __enter__(self) -> ChainedRecordings:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


Opened = OpenRecording | ChainedRecordings


def open_chain(
    file: BinaryIO, path: str | Path, begins: Sequence[int], size: int, under: BinaryIO
) -> ChainedRecordings:
    """Open the pieces of a file that begin there, as many of the first ones as have one rate and number of channels.

    under: the file to close with it.
    """
    pieces: list[OpenRecording] = []
    note = ""
    for begin, end in zip(begins[:PIECES], [*begins[1:], size]):
        stream = io.BufferedReader(Part(file, begin, end - begin), BUFFER)
        try:
            piece = OpenRecording(stream, path, stream)
        except soundfile.LibsndfileError:
            if not pieces:
                raise
            note = f"damaged: {_many(begins)}, of which number {len(pieces) + 1} cannot be decoded"
            break
        if pieces and _kind(piece) != _kind(pieces[0]):
            note = f"header: {_many(begins)}, of {_kind(pieces[0])} and then of {_kind(piece)}"
            piece.close()
            break
        pieces.append(piece)
    else:
        if len(begins) > PIECES:
            note = f"header: {_many(begins)}, of which {PIECES} are used at most"
    if note:
        seconds = sum(piece.frames for piece in pieces) / pieces[0].samplerate
        note += f"; what comes before, {seconds:.3f} s, is used; part them"
    return ChainedRecordings(pieces, under, note)


def _many(begins: Sequence[int]) -> str:
    return f"holds {len(begins)} Ogg streams one behind another"


def _kind(piece: OpenRecording) -> str:
    return f"{piece.samplerate:,} Hz and {counted(piece.channels, 'channel')}"


def error_of(stream: Any) -> Exception | None:
    part = getattr(stream, "raw", None)
    return part.error if isinstance(part, Part) else None
