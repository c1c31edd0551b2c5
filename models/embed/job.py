"""Compute a job part by part: chunks of recordings become rows, the same rows whatever was done before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor

from oscine.models.embed.clips import Chunk, ChunkAudio, ClipLayout, cut_clips, group_chunks, read_chunks
from oscine.models.embed.extractor import Clip, Extractor, Key
from oscine.models.embed.progress import Progress
from oscine.models.embed.settings import EmbedSettings
from oscine.models.embed.table import FileError
from oscine.models.encoders.base.precision import FLOAT32
from oscine.models.errors import OscineError
from oscine.models.recordings.headers import Recording, check_source
from oscine.models.recordings.timestamps import Clock

# Batches in a part, about, which is what a stop can cost: a quarter of what was done before it, and 32 at most. With 32 from
# the beginning, a stop after 300 clips on a CPU, which are minutes, left nothing.
QUARTER, BATCHES = 4, 32
PARTS = "growing"  # in a journal's plan: those of versions without it are of another size


class Rows(NamedTuple):
    """The keys of every row, and the numbers of its columns, [row, number]."""

    keys: list[Key]
    numbers: Tensor


class Job(NamedTuple):
    """How clips become rows, and of which recordings."""

    extractor: Extractor
    layout: ClipLayout
    settings: EmbedSettings
    batch_size: int
    recordings: list[Recording]

    @property
    def clips(self) -> int:
        return sum(map(self.layout.clips_of, self.recordings))

    @property
    def left_out(self) -> int:
        """Last clips that are too short to be one."""
        return sum(self.layout.leaves_out(self.layout.total_samples(one)) for one in self.recordings)

    def parts(self, skip: int = 0) -> Iterator[list[Chunk]]:
        """Yield the chunks of every part: no batch crosses one, so its numbers, to the last bit, depend on no other."""
        return islice(group_chunks(self.recordings, self.layout, self.clips_after), skip, None)

    def clips_after(self, done: int) -> int:
        """Count the clips of the part that comes after `done` clips."""
        return self.batch_size * min(BATCHES, max(1, done // self.batch_size // QUARTER))

    def progress(self, parts: int) -> Progress:
        """Return where the job stands when a number of parts is done."""
        seconds = sum(recording.seconds for recording in self.recordings)
        progress = Progress(0, len(self.recordings), 0, self.clips, 0.0, seconds)
        for part in islice(self.parts(), parts):
            progress = self.advance(progress, part)
        return progress

    def advance(self, progress: Progress, part: list[Chunk]) -> Progress:
        seconds = sum(chunk.clips * self.clip_seconds(chunk.recording) for chunk in part)
        return progress.plus(sum(chunk.last for chunk in part), sum(chunk.clips for chunk in part), seconds)

    def clip_seconds(self, recording: Recording) -> float:
        """Return the seconds of a recording to each of its clips."""
        return recording.seconds / self.layout.clips_of(recording)


def embed_parts(
    job: Job, skip: int, known: Mapping[str, FileError], *, workers: int, on_progress: Callable[[Progress], None]
) -> Iterator[tuple[Rows, dict[str, FileError]]]:
    """Compute all parts but the first `skip`.

    known: the errors of parts before, to which the caller adds those handed out.
    """
    progress = job.progress(skip)
    on_progress(progress)
    read = read_chunks(chain.from_iterable(job.parts(skip)), job.layout, workers)
    for part in job.parts(skip):
        yield embed_part(
            job, zip(part, read), known, on_progress=lambda *done, before=progress: on_progress(before.plus(0, *done))
        )
        progress = job.advance(progress, part)
        on_progress(progress)


def embed_part(
    job: Job,
    chunks: Iterator[tuple[Chunk, ChunkAudio]],
    known: Mapping[str, FileError],
    *,
    on_progress: Callable[[int, float], None] = lambda *_: None,
) -> tuple[Rows, dict[str, FileError]]:
    """Compute the rows of some chunks, and the errors of their recordings. on_progress: takes clips and seconds."""
    errors: dict[str, FileError] = {}
    keys: list[Key] = []
    numbers = [torch.empty(0, job.extractor.row_width)]
    seconds = 0.0
    clips = clips_of_part(job, chunks, known, errors=errors)
    for done, (clip, rows) in enumerate(job.extractor.run(clips, job.batch_size), start=1):
        if not rows.isfinite().all():
            raise not_finite(job.extractor, *clip.keys[0][:2])
        keys += clip.keys
        numbers.append(rows[: len(clip.keys)])  # what lies beyond the recording's end has no time
        seconds += clip.seconds
        on_progress(done, seconds)
    return Rows(keys, torch.cat(numbers)), errors


def clips_of_part(
    job: Job,
    chunks: Iterator[tuple[Chunk, ChunkAudio]],
    known: Mapping[str, FileError],
    *,
    errors: dict[str, FileError],
) -> Iterator[Clip]:
    """Cut chunks into clips with their keys; put into `errors` which recordings are read no further."""
    clock = Clock(job.settings.clock) if job.settings.clock else None
    for chunk, audio in chunks:
        recording, name = chunk.recording, chunk.recording.name
        error = errors.get(name) or known.get(name)
        if error and (error.refused or error.part == recording.part):  # what may follow is not used
            continue
        if audio.refused or audio.truncated:
            check_source(recording.path, [one.path for one in job.recordings])
            errors[name] = FileError(audio.refused or audio.truncated, bool(audio.refused), recording.part)
        made, total = cut_clips(chunk, audio, job.layout)
        begin, seconds = job.layout.first_sample(recording), job.clip_seconds(recording)
        began = clock.start_time(name) if clock else None
        for number, clip in enumerate(made, chunk.first):
            times = job.extractor.times(*job.layout.times(number, total, begin))
            keys = [
                (name, start, end, recording.channel, began and began + timedelta(seconds=start))
                for start, end in times
            ]
            yield Clip(clip, keys, seconds)


def not_finite(extractor: Extractor, name: str, start: float) -> OscineError:
    """Return the error of a clip, whose samples are finite, of which numbers came that are not."""
    precision = extractor.precision
    lower = "" if precision == FLOAT32 else f", or too large for {precision}: take precision {FLOAT32}"
    encoder = extractor.encoder
    return OscineError(
        f"what {encoder.called} makes of {name} from {start:g} s is not finite; {encoder.not_finite}{lower}"
    )
