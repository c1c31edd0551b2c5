"""A job, part by part: pieces of recordings become rows, the same rows whatever was done before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oscine.models.embed.arguments import SHORTEST_CLIP
from oscine.models.embed.clips import (
    Piece,
    Read,
    Recording,
    Windows,
    clips_of,
    count,
    first_sample,
    parts_of,
    read_ahead,
    total_samples,
)
from oscine.models.embed.outputs import Outputs
from oscine.models.embed.progress import Progress
from oscine.models.embed.table import Note
from oscine.models.encoders.base.precision import FLOAT32
from oscine.models.errors import OscineError
from oscine.models.recordings.folder import check_source
from oscine.models.recordings.timestamps import Clock

# Batches in a part, about, which is what a stop can cost: a quarter of what was done before it, and 32 at most. With 32 from
# the beginning, whoever stopped after 300 clips on a CPU, which are minutes, had kept nothing.
QUARTER, BATCHES = 4, 32
PARTS = "growing"  # in a journal's plan: those of versions without it are of another size


class Rows(NamedTuple):
    """The keys of every row, in the order of `table.KEY_COLUMNS`, and the numbers of its columns, [row, number]."""

    keys: list[tuple[str, float, float, int, Any]]
    numbers: Tensor


class Job(NamedTuple):
    """How clips become rows, and of which recordings."""

    outputs: Outputs
    windows: Windows
    batch_size: int
    clock: Clock | None
    recordings: list[Recording]
    shortest: float = SHORTEST_CLIP  # the share of a clip by which the windows were cut

    @property
    def clips(self) -> int:
        return sum(count(recording, self.windows) for recording in self.recordings)

    @property
    def left_out(self) -> int:
        """Last clips that are too short to be one."""
        return sum(self.windows.leaves_out(total_samples(one, self.windows)) for one in self.recordings)

    def parts(self, skip: int = 0) -> Iterator[list[Piece]]:
        """Batches never cross a part, so that its numbers, to the last bit, depend on no other."""
        return islice(parts_of(self.recordings, self.windows, self.clips_after), skip, None)

    def clips_after(self, done: int) -> int:
        """Clips of the part that comes after so many."""
        return self.batch_size * min(BATCHES, max(1, done // self.batch_size // QUARTER))

    def progress(self, parts: int) -> Progress:
        """Where the job stands when so many parts are done."""
        seconds = sum(recording.seconds for recording in self.recordings)
        progress = Progress(0, len(self.recordings), 0, self.clips, 0.0, seconds)
        for part in islice(self.parts(), parts):
            progress = self.advance(progress, part)
        return progress

    def advance(self, progress: Progress, part: list[Piece]) -> Progress:
        seconds = sum(piece.clips * self.share(piece) for piece in part)
        return progress.plus(sum(piece.last for piece in part), sum(piece.clips for piece in part), seconds)

    def share(self, piece: Piece) -> float:
        """Seconds of the recording to each of its clips."""
        return piece.recording.seconds / count(piece.recording, self.windows)


def embed_parts(
    job: Job, skip: int, known: Mapping[str, Note], workers: int, tell: Callable[[Progress], None]
) -> Iterator[tuple[Rows, dict[str, Note]]]:
    """All parts but the first `skip`. known: the notes of parts before, to which the caller adds those handed out."""
    progress = job.progress(skip)
    tell(progress)
    reads = read_ahead(chain.from_iterable(job.parts(skip)), job.windows, workers)
    for part in job.parts(skip):
        yield embed_part(job, part, reads, known, partial(_tell_more, tell, progress))
        progress = job.advance(progress, part)
        tell(progress)


def not_finite(outputs: Outputs, name: str, start: float) -> OscineError:
    """Return the error of a clip, whose samples are finite, of which numbers came that are not."""
    model = (outputs.encoder.provenance or {}).get("model") or type(outputs.encoder).__name__
    lower = "" if outputs.precision == FLOAT32 else f", or too large for {outputs.precision}: take precision {FLOAT32}"
    return OscineError(f"what {model} makes of {name} from {start:g} s is not finite; its weights are broken{lower}")


def _tell_more(tell: Callable[[Progress], None], before: Progress, clips: int, seconds: float) -> None:
    tell(before.plus(0, clips, seconds))


def embed_part(
    job: Job,
    part: list[Piece],
    reads: Iterator[Read],
    known: Mapping[str, Note],
    tell: Callable[[int, float], None] = lambda *_: None,
) -> tuple[Rows, dict[str, Note]]:
    """The rows of some pieces, and what is to be said of their recordings. tell: clips and seconds that are done."""
    notes: dict[str, Note] = {}
    keys: list[list[tuple[str, float, float, int, Any]]] = []  # of every clip's rows
    shares: list[float] = []

    def clips() -> Iterator[Tensor]:
        for piece, read in zip(part, reads):
            recording, name = piece.recording, piece.recording.name
            note = notes.get(name) or known.get(name)
            if note and (note.refused or note.part == recording.part):  # what may follow is not used
                continue
            if read.refused or read.truncated:
                check_source(recording.path, [one.path for one in job.recordings])
                notes[name] = Note(read.refused or read.truncated, bool(read.refused), recording.part)
            made, total = clips_of(piece, read, job.windows)
            begin, channel = first_sample(recording, job.windows), recording.channel
            began = job.clock.began(name) if job.clock else None
            for number, clip in enumerate(made, piece.first):
                times = job.outputs.times(*job.windows.times(number, total, begin))
                keys.append(
                    [(name, start, end, channel, began and began + timedelta(seconds=start)) for start, end in times]
                )
                shares.append(job.share(piece))
                yield clip

    numbers = [torch.empty(0, job.outputs.numbers)]
    seconds = 0.0
    for clip, rows in enumerate(job.outputs.of_batches(clips(), job.batch_size)):
        if not rows.isfinite().all():
            raise not_finite(job.outputs, *keys[clip][0][:2])
        seconds += shares[clip]
        numbers.append(rows[: len(keys[clip])])  # what lies beyond the recording's end has no time
        tell(clip + 1, seconds)
    return Rows(list(chain.from_iterable(keys)), torch.cat(numbers)), notes
