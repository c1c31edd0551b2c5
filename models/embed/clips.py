"""Recordings as clips: how they are cut, and how they are read ahead, piece by piece, in other processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from oscine.models.audio.load import AudioError, count_clips, decode, open_recording, split_clips
from oscine.models.audio.workers import read_in_processes
from oscine.models.embed.arguments import SHORTEST_CLIP
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.recordings.folder import Recording

PIECE_SECONDS = 120  # what a worker reads at a time: two minutes at 250 kHz are 120 MB


class Windows(NamedTuple):
    """How recordings are cut into clips, counted in samples at the encoder's rate.

    shortest: samples of sound that a last clip needs, unless it is the only one.
    """

    sample_rate: int
    samples: int
    hop: int
    shortest: int = 0

    def clips(self, total: int) -> int:
        return count_clips(total, self.samples, self.hop) - self.leaves_out(total)

    def leaves_out(self, total: int) -> bool:
        """Return whether the last clip of so many samples has too few of them."""
        clips = count_clips(total, self.samples, self.hop)
        return clips > 1 and total - (clips - 1) * self.hop < self.shortest

    def times(self, clip: int, total: int, begin: int = 0) -> tuple[float, float]:
        """Start and end of a clip in seconds; silence that fills it up does not count.

        total: samples of what is cut into clips. begin: where that begins in its recording, in samples.
        """
        first = clip * self.hop
        return (begin + first) / self.sample_rate, (begin + min(first + self.samples, total)) / self.sample_rate


class Piece(NamedTuple):
    """Some consecutive clips of a recording, read together; `last` where no more follow."""

    recording: Recording
    first: int
    clips: int
    last: bool


class Read(NamedTuple):
    """A piece's samples, as much as could be decoded. `refused`: why the whole recording must not be used, or ""."""

    waveform: np.ndarray
    truncated: str = ""
    refused: str = ""


class Reader(Dataset[Read]):
    """Reads the pieces that it is handed, in worker processes; an error becomes part of the answer."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __getitem__(self, piece: Piece) -> Read:
        sample_rate, samples, hop, _ = self.windows
        recording, first = piece.recording, piece.first * hop
        count = min((piece.clips - 1) * hop + samples, total_samples(recording, self.windows) - first)
        begin = first_sample(recording, self.windows)
        try:
            with open_recording(recording.path) as file:
                decoded = decode(file, sample_rate, begin + first, count, recording.channel)
        except AudioError as error:
            return Read(np.empty(0, np.float32), refused=error.reason)
        # An array travels through a pipe; a tensor would need shared memory, of which containers have little.
        return Read(decoded.waveform.numpy(), decoded.truncated)


def cut(
    encoder: Encoder, hop: float | None = None, samples: int | None = None, shortest: float = SHORTEST_CLIP
) -> Windows:
    """Clips of so many samples, by default the encoder's, every `hop` seconds; None is a clip's length.

    shortest: the share of a clip that the last one of a recording must have, to be one, unless it is the only one.
    """
    length = samples or encoder.samples
    step = length if hop is None else hop * encoder.sample_rate
    if not math.isfinite(step) or round(step) < 1:
        seconds = length / encoder.sample_rate
        raise OscineError(f"hop is {hop} s, expected more than 0; leave it out for the clip's {seconds:g} s")
    return Windows(encoder.sample_rate, length, round(step), round(shortest * length))


def first_sample(recording: Recording, windows: Windows) -> int:
    """Where a recording's stretch begins, in samples at the encoder's rate."""
    return round(recording.start * windows.sample_rate)


def total_samples(recording: Recording, windows: Windows) -> int:
    """Samples of a recording, or of its stretch, at the encoder's rate."""
    last = math.ceil(recording.info.frames * windows.sample_rate / recording.info.sample_rate)
    if recording.end is not None:
        last = min(last, round(recording.end * windows.sample_rate))
    return last - first_sample(recording, windows)


def count(recording: Recording, windows: Windows) -> int:
    """Clips of a whole recording."""
    return windows.clips(total_samples(recording, windows))


def pieces_of(recording: Recording, windows: Windows) -> Iterator[Piece]:
    """Every clip of a recording, in order, in pieces of some minutes."""
    size = max(1, PIECE_SECONDS * windows.sample_rate // windows.hop)
    clips = count(recording, windows)
    for first in range(0, clips, size):
        yield Piece(recording, first, min(size, clips - first), first + size >= clips)


def parts_of(
    recordings: Iterable[Recording], windows: Windows, clips_after: Callable[[int], int]
) -> Iterator[list[Piece]]:
    """All pieces of all recordings, in order, in parts; the same parts for the same recordings.

    clips_after: of how many clips a part is at least, by how many come before it.
    """
    part: list[Piece] = []
    done = held = 0
    for recording in recordings:
        for piece in pieces_of(recording, windows):
            part.append(piece)
            held += piece.clips
            if held >= clips_after(done):
                yield part
                part, done, held = [], done + held, 0
    if part:
        yield part


def read_ahead(pieces: Iterable[Piece], windows: Windows, workers: int) -> Iterator[Read]:
    """The pieces' samples, in order, from so many processes; 0 reads in this one."""
    return read_in_processes(Reader(windows), pieces, workers=workers)


def clips_of(piece: Piece, read: Read, windows: Windows) -> tuple[list[Tensor], int]:
    """The clips of a piece, [samples] each, as far as it could be read, and where the recording ends, in samples.

    A clip ends where its recording, or the stretch of it, ends.
    """
    total = total_samples(piece.recording, windows)
    if read.truncated:
        total = piece.first * windows.hop + len(read.waveform)
    if read.refused or not len(read.waveform):
        return [], total
    clips = split_clips(torch.from_numpy(read.waveform), windows.samples, windows.hop)
    clips = clips[: min(piece.clips, windows.clips(total) - piece.first)]
    return [clip[: total - number * windows.hop] for number, clip in enumerate(clips, piece.first)], total
