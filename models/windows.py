"""Recordings as clips: how they are cut, and how they are read ahead, piece by piece, in other processes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from oscine.models.audio import AudioError, AudioInfo, count_clips, decode, one_thread, open_recording
from oscine.models.errors import OscineError

PIECE_SECONDS = 120  # what a worker reads at a time: two minutes at 250 kHz are 120 MB


class Windows(NamedTuple):
    """How recordings are cut into clips, counted in samples at the encoder's rate."""

    sample_rate: int
    samples: int
    hop: int

    def clips(self, total: int) -> int:
        return count_clips(total, self.samples, self.hop)

    def times(self, clip: int, total: int) -> tuple[float, float]:
        """Start and end of a clip in seconds; silence that fills it up does not count."""
        first = clip * self.hop
        return first / self.sample_rate, min(first + self.samples, total) / self.sample_rate


class Recording(NamedTuple):
    """One file to embed. `name` stands in the table's column `file`."""

    path: Path
    name: str
    info: AudioInfo


class Piece(NamedTuple):
    """Some consecutive clips of a recording, read together."""

    recording: Recording
    first: int
    clips: int


class Read(NamedTuple):
    """A piece's samples, as much as could be decoded. `refused`: why the whole recording must not be used, or ""."""

    waveform: np.ndarray
    truncated: str = ""
    refused: str = ""


class Pieces(Dataset[Read]):
    """Reads pieces of recordings, in worker processes; an error becomes part of the answer."""

    def __init__(self, pieces: list[Piece], windows: Windows) -> None:
        self.pieces = pieces
        self.windows = windows

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Read:
        piece, (sample_rate, samples, hop) = self.pieces[index], self.windows
        try:
            with open_recording(piece.recording.path) as file:
                decoded = decode(file, sample_rate, piece.first * hop, (piece.clips - 1) * hop + samples)
        except AudioError as error:
            return Read(np.empty(0, np.float32), refused=error.reason)
        # An array travels through a pipe; a tensor would need shared memory, of which containers have little.
        return Read(decoded.waveform.numpy(), decoded.truncated)


def pieces_of(recordings: list[Recording], windows: Windows) -> Iterator[Piece]:
    """Every clip of every recording, in order, in pieces of some minutes."""
    size = max(1, PIECE_SECONDS * windows.sample_rate // windows.hop)
    for recording in recordings:
        clips = windows.clips(total_samples(recording, windows))
        for first in range(0, clips, size):
            yield Piece(recording, first, min(size, clips - first))


def read_ahead(pieces: list[Piece], windows: Windows, workers: int | None) -> DataLoader[Read]:
    """The pieces' samples, in order, from so many processes; None is one or two."""
    if workers is None:
        workers = max(1, min(2, (os.cpu_count() or 1) - 1))
    if workers < 0:
        raise OscineError(f"workers is {workers}, expected 0 (read in the main process) or more")
    return DataLoader(
        Pieces(pieces, windows),
        batch_size=None,
        num_workers=min(workers, len(pieces)),
        collate_fn=_as_it_is,  # type: ignore[arg-type]
        worker_init_fn=one_thread,
        generator=torch.Generator(),  # its own: reading leaves the caller's random numbers alone
    )


def _as_it_is(read: Read) -> Read:
    return read


def total_samples(recording: Recording, windows: Windows) -> int:
    """Samples of a whole recording at the encoder's rate."""
    return math.ceil(recording.info.frames * windows.sample_rate / recording.info.sample_rate)
