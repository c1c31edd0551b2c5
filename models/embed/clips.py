"""Cut recordings into clips: how long these are and how far apart, and the chunks that processes read ahead."""

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
from oscine.models.embed.settings import SHORTEST_CLIP
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.recordings.headers import Recording

CHUNK_SECONDS = 120  # what a worker reads at a time: two minutes at 250 kHz are 120 MB


class ClipLayout(NamedTuple):
    """How recordings are cut into clips, counted in samples at the encoder's rate.

    shortest: samples of sound that a last clip needs, unless it is the only one.
    """

    sample_rate: int
    samples: int
    hop: int
    shortest: int = 0

    def first_sample(self, recording: Recording) -> int:
        """Return the first sample of a recording's stretch."""
        return round(recording.start * self.sample_rate)

    def total_samples(self, recording: Recording) -> int:
        """Count the samples of a recording, or of its stretch."""
        last = math.ceil(recording.info.frames * self.sample_rate / recording.info.sample_rate)
        if recording.end is not None:
            last = min(last, round(recording.end * self.sample_rate))
        return last - self.first_sample(recording)

    def clips(self, total: int) -> int:
        """Count the clips that a number of samples is cut into."""
        return count_clips(total, self.samples, self.hop) - self.leaves_out(total)

    def clips_of(self, recording: Recording) -> int:
        """Count the clips of a whole recording."""
        return self.clips(self.total_samples(recording))

    def leaves_out(self, total: int) -> bool:
        """Return whether the last clip of a number of samples has too few of them."""
        clips = count_clips(total, self.samples, self.hop)
        return clips > 1 and total - (clips - 1) * self.hop < self.shortest

    def times(self, clip: int, total: int, begin: int = 0) -> tuple[float, float]:
        """Return start and end of a clip in seconds; silence that fills it up does not count.

        total: samples of what is cut into clips. begin: where that begins in its recording, in samples.
        """
        first = clip * self.hop
        return (begin + first) / self.sample_rate, (begin + min(first + self.samples, total)) / self.sample_rate


class Chunk(NamedTuple):
    """Some consecutive clips of a recording, read together; `last` where no more follow."""

    recording: Recording
    first: int
    clips: int
    last: bool


class ChunkAudio(NamedTuple):
    """A chunk's samples, as much as could be decoded. `refused`: why the whole recording must not be used, or ""."""

    waveform: np.ndarray
    truncated: str = ""
    refused: str = ""


class ChunkReader(Dataset[ChunkAudio]):
    """Reads the chunks that it is handed, in worker processes; an error becomes part of the answer."""

    def __init__(self, layout: ClipLayout) -> None:
        self.layout = layout

    def __getitem__(self, chunk: Chunk) -> ChunkAudio:
        layout, recording, first = self.layout, chunk.recording, chunk.first * self.layout.hop
        count = min((chunk.clips - 1) * layout.hop + layout.samples, layout.total_samples(recording) - first)
        begin = layout.first_sample(recording)
        try:
            with open_recording(recording.path) as file:
                decoded = decode(file, layout.sample_rate, begin + first, count, recording.channel)
        except AudioError as error:
            return ChunkAudio(np.empty(0, np.float32), refused=error.reason)
        # An array travels through a pipe; a tensor would need shared memory, of which containers have little.
        return ChunkAudio(decoded.waveform.numpy(), decoded.truncated)


def make_layout(
    encoder: Encoder, hop: float | None = None, samples: int | None = None, shortest: float = SHORTEST_CLIP
) -> ClipLayout:
    """Lay out clips of `samples` samples, by default the encoder's, every `hop` seconds; None is a clip's length.

    shortest: the share of a clip that the last one of a recording must have, to be one, unless it is the only one.
    """
    length = samples or encoder.samples
    step = length if hop is None else hop * encoder.sample_rate
    if not math.isfinite(step) or round(step) < 1:
        seconds = length / encoder.sample_rate
        raise OscineError(f"hop is {hop} s, expected more than 0; leave it out for the clip's {seconds:g} s")
    return ClipLayout(encoder.sample_rate, length, round(step), round(shortest * length))


def split_recording(recording: Recording, layout: ClipLayout) -> Iterator[Chunk]:
    """Yield every clip of a recording, in order, in chunks of some minutes."""
    size = max(1, CHUNK_SECONDS * layout.sample_rate // layout.hop)
    clips = layout.clips_of(recording)
    for first in range(0, clips, size):
        yield Chunk(recording, first, min(size, clips - first), first + size >= clips)


def group_chunks(
    recordings: Iterable[Recording], layout: ClipLayout, clips_after: Callable[[int], int]
) -> Iterator[list[Chunk]]:
    """Yield all chunks of all recordings, in order, in parts; the same parts for the same recordings.

    clips_after: of how many clips a part is at least, by how many come before it.
    """
    part: list[Chunk] = []
    done = held = 0
    for recording in recordings:
        for chunk in split_recording(recording, layout):
            part.append(chunk)
            held += chunk.clips
            if held >= clips_after(done):
                yield part
                part, done, held = [], done + held, 0
    if part:
        yield part


def read_chunks(chunks: Iterable[Chunk], layout: ClipLayout, workers: int) -> Iterator[ChunkAudio]:
    """Read chunks ahead, in order, in other processes; with 0 workers in this one."""
    return read_in_processes(ChunkReader(layout), chunks, workers=workers)


def cut_clips(chunk: Chunk, audio: ChunkAudio, layout: ClipLayout) -> tuple[list[Tensor], int]:
    """Cut a chunk into clips, [samples] each, as far as it could be read; and say where the recording ends, in samples.

    A clip ends where its recording, or the stretch of it, ends.
    """
    total = layout.total_samples(chunk.recording)
    if audio.truncated:
        total = chunk.first * layout.hop + len(audio.waveform)
    if audio.refused or not len(audio.waveform):
        return [], total
    clips = split_clips(torch.from_numpy(audio.waveform), layout.samples, layout.hop)
    clips = clips[: min(chunk.clips, layout.clips(total) - chunk.first)]
    return [clip[: total - number * layout.hop] for number, clip in enumerate(clips, chunk.first)], total
