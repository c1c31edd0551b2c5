"""Estimate what embedding a folder will cost, by a timed trial of it: seconds and bytes."""

from __future__ import annotations

import shutil
from itertools import cycle, islice
from time import perf_counter
from typing import NamedTuple

from oscine.models.embed.clips import cut_clips, read_chunks, split_recording
from oscine.models.embed.extractor import Clip
from oscine.models.embed.job import Job
from oscine.models.embed.journal import Journal
from oscine.models.embed.progress import Forecast
from oscine.models.embed.table import CSV_BYTES
from oscine.models.embed.table_metadata import DTYPES
from oscine.models.errors import OscineError
from oscine.models.files import bytes_in_words
from oscine.models.recordings.headers import HeaderScan

READ = 3  # recordings from whose beginnings the trial is taken
ENCODED = 4  # clips that are timed on a CPU; elsewhere a batch


class Cost(NamedTuple):
    """Seconds that a clip takes to be read, by one process, and to be encoded."""

    reading: float
    encoding: float


def measure_cost(job: Job) -> Cost:
    """Measure what a clip of a job costs, by those at the beginnings of a few recordings."""
    chosen = job.recordings[:: max(1, len(job.recordings) // READ)][:READ]
    chunks = [next(split_recording(recording, job.layout)) for recording in chosen]
    begin = perf_counter()
    read = zip(chunks, read_chunks(chunks, job.layout, workers=0))
    clips = [Clip(clip) for chunk, audio in read for clip in cut_clips(chunk, audio, job.layout)[0]]
    reading = (perf_counter() - begin) / max(1, len(clips))
    return Cost(reading, encoding_seconds(job, clips))


def encoding_seconds(job: Job, clips: list[Clip]) -> float:
    """Measure seconds of a clip on its way through frontend and encoder, after a warm-up; 0 where none could be read."""
    # A batch as it will come; but on a CPU a few clips tell as much, unless they are compiled, and filled up to a batch.
    whole = job.extractor.compiled or job.extractor.encoder.device.type != "cpu"
    count = min(job.batch_size, job.clips, job.batch_size if whole else ENCODED)
    trial, begin = list(islice(cycle(clips), count)), 0.0
    for batch in (trial if whole else trial[:1], trial):
        begin = perf_counter()
        list(job.extractor.run(batch, job.batch_size))
    return (perf_counter() - begin) / max(1, count)


def estimate(job: Job, found: HeaderScan, journal: Journal, *, cost: Cost, workers: int) -> Forecast:
    """Estimate what is to come; an error where the disk has no room for it."""
    clips, done, extractor = job.clips, job.progress(journal.parts).clips, job.extractor
    numbers = clips * len(extractor.times(0.0, job.layout.samples / job.layout.sample_rate)) * extractor.row_width
    number_bytes = DTYPES[job.settings.dtype].bit_width // 8
    size = numbers * (CSV_BYTES if journal.target.suffix == ".csv" else number_bytes)
    need = size + numbers * number_bytes * (clips - done) // max(1, clips)
    free = shutil.disk_usage(journal.folder).free
    if need > free:
        raise OscineError(
            f"{journal.target} and its journal need {bytes_in_words(need)}, the disk has {bytes_in_words(free)}; make "
            "room, choose another place, dtype float16, a longer hop, or fewer layers and pools"
        )
    # Whoever is slower sets the pace, unless one process reads and encodes in turns.
    pace = max(cost.reading / workers, cost.encoding) if workers else cost.reading + cost.encoding
    seconds, shortest = pace * (clips - done), job.settings.shortest
    return Forecast(found, clips, done, extractor.precision, seconds, size, free, job.left_out, shortest)
