"""Decode, resample and encode recordings again, in several processes; the same bytes each time."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from torch import Tensor
from torch.utils.data import Dataset

from oscine.models.audio.load import AudioError, Decoded, decode, open_recording
from oscine.models.recordings.headers import Recording
from oscine.pretrain.data.shards import FORMATS

PIECE_SECONDS = 60  # that are decoded at a time: recordings may last a day
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Transcoded(NamedTuple):
    """`frames` that were written, 0 where a recording is left out; `reason` says why, or why it is cut short."""

    frames: int
    reason: str = ""
    failed: str = ""  # why the disk could not be written


class Transcoder(Dataset[Transcoded]):
    """Writes recording number n to `place(n)`."""

    def __init__(self, recordings: Sequence[Recording], folder: Path, sample_rate: int, format: str) -> None:
        self.recordings, self.folder, self.sample_rate, self.format = recordings, folder, sample_rate, format

    def place(self, number: int) -> Path:
        return self.folder / f"{number:08d}.{self.format}"

    def __getitem__(self, number: int) -> Transcoded:
        try:
            return self.write(number)
        except OSError as error:
            return Transcoded(0, failed=error.strerror or str(error))

    def write(self, number: int) -> Transcoded:
        recording, frames, reason = self.recordings[number], 0, ""
        with Sink(self.place(number), "w") as sink:
            try:
                with soundfile.SoundFile(sink, "w", self.sample_rate, 1, **FORMATS[self.format]) as out:
                    for decoded in read_pieces(recording, self.sample_rate):
                        frames += len(decoded.waveform)
                        reason = decoded.truncated
                        write_pieces(out, decoded.waveform, self.sample_rate)
            except AudioError as error:
                return Transcoded(0, error.reason)
            except (soundfile.LibsndfileError, AssertionError):  # also of a disk that is full, which the sink has seen
                if not sink.failed:
                    raise
        if frames and self.format == "ogg" and not sink.failed:
            set_serial(self.place(number), number)
        return Transcoded(frames, reason or recording.info.note, sink.failed)


class Sink(io.FileIO):
    """A file that remembers why it could not be written; the encoders go on as if nothing had happened."""

    failed = ""

    def write(self, content: Any) -> int:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failed = error.strerror or str(error)
        return len(content) - len(rest)


def read_pieces(recording: Recording, sample_rate: int) -> Iterator[Decoded]:
    """Decode a recording minute by minute, as far as it goes."""
    with open_recording(recording.path) as file:
        total = math.ceil(file.frames * sample_rate / file.samplerate)
        for first in range(0, total, PIECE_SECONDS * sample_rate):
            decoded = decode(file, sample_rate, first, PIECE_SECONDS * sample_rate, recording.channel)
            yield decoded
            if decoded.truncated:
                return


def write_pieces(out: soundfile.SoundFile, waveform: Tensor, sample_rate: int) -> None:
    """Write 16 bits, which read again are the same numbers; libsndfile scales floats by one factor and reads by another."""
    samples = (waveform * 2**15).round().clamp(-(2**15), 2**15 - 1).numpy().astype(np.int16)
    for first in range(0, len(samples), sample_rate):  # Vorbis puts what it is given on the stack: a second will fit
        out.write(samples[first : first + sample_rate])


def set_serial(path: Path, serial: int) -> None:
    """Give an Ogg stream a number of ours for the random one, which no two encodings share (RFC 3533, section 6)."""
    with path.open("r+b") as file:
        while head := file.read(27):
            begin = file.tell() - 27
            lacing = file.read(head[26])
            page = bytearray(head + lacing + file.read(sum(lacing)))
            page[14:18] = serial.to_bytes(4, "little")
            page[22:26] = bytes(4)
            page[22:26] = _ogg_checksum(page).to_bytes(4, "little")
            file.seek(begin)
            file.write(page)


def _ogg_checksum(page: bytes | bytearray) -> int:
    """Compute Ogg's CRC: zlib's polynomial, but bits from the other end, begun with 0 and not inverted."""
    mirrored = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
