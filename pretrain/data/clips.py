"""Cut clips to pretrain on. Every random choice depends on the seed and the clip's number in the run alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing import get_context
from torch.utils.data import Dataset, Sampler, default_collate

from oscine.models.audio.clip_random import derive_seed
from oscine.models.audio.load import AudioError, one_clip
from oscine.models.errors import OscineError
from oscine.models.text.words import counted
from oscine.pretrain.data.spans import RecordingSource, Span, split_spans
from oscine.pretrain.recipe import Batch, DrawKeep

logger = logging.getLogger(__name__)
# Bad ones before their share is looked at: fewer may be chance, and a small folder's few are no reason to stop.
MIN_BAD = 20
MOST_IN_A_ROW = 20  # unreadable recordings in a row before a run stops: more than chance, a disk is gone


class ClipDataset(Dataset[Batch]):
    """Clip number 0, 1, 2, ... of an endless run over recordings: shuffled anew every epoch and cut at random.

    A clip that its stretch does not fill is filled up with silence. For a recording that cannot be read the source's next
    one is taken, which in shards lies beside it; for `bad_share` of the clips at most.
    stretches: what `stretches_of` gives, where it is known already.
    """

    def __init__(
        self,
        source: RecordingSource,
        sample_rate: int,
        samples: int,
        draw_keep: DrawKeep,
        seed: int = 0,
        bad_share: float = 0.05,
        stretches: np.ndarray | None = None,
    ) -> None:
        if source.sample_rate not in (None, sample_rate):
            logger.warning("recordings packed at %s Hz are read at %s Hz", source.sample_rate, sample_rate)
        self.source = source
        self.sample_rate, self.samples, self.seed = sample_rate, samples, seed
        self.draw_keep = draw_keep
        self.stretches = stretches_of(source, samples / sample_rate, bad_share) if stretches is None else stretches
        self.bad_files = BadFileBudget(bad_share)

    def __getitem__(self, number: int) -> Batch:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, number))
        # Another one: what is mixed is not to go with what was cut.
        seed = torch.tensor(derive_seed(self.seed, number, 2))
        stretch = self.stretch(number)
        first: AudioError | None = None
        for _ in range(MOST_IN_A_ROW):
            try:
                waveform = self.cut(stretch, generator)
            except AudioError as error:
                first, last = first or error, error
                stretch = self.of_next_recording(stretch)
                continue
            self.bad_files.add(first)
            length = torch.tensor(min(len(waveform), self.samples))
            return Batch(one_clip(waveform, self.samples), length, self.draw_keep(generator), seed)
        raise OscineError(
            f"{MOST_IN_A_ROW} recordings in a row cannot be read, the last is {last}; is the disk still there?"
        )

    def __getitems__(self, numbers: list[int]) -> list[Batch] | OscineError:
        """Return the clips of one batch; an error as it is, where a worker would raise it as its traceback's text."""
        try:
            return [self[number] for number in numbers]
        except OscineError as error:
            return error

    def stretch(self, number: int) -> int:
        """Return the number of the stretch that a clip is cut from."""
        epoch, place = divmod(number, len(self.stretches))
        return int(shuffled(len(self.stretches), derive_seed(self.seed, epoch, 1))[place])

    def of_next_recording(self, stretch: int) -> int:
        """Return the first stretch after this one that is of another recording; the same one where there is no other."""
        recordings = self.stretches["recording"]
        for step in range(1, len(recordings)):
            following = (stretch + step) % len(recordings)
            if recordings[following] != recordings[stretch]:
                return following
        return stretch

    def recording_of(self, number: int) -> str:
        """Return the name of the recording that a clip is cut from, if that can be read."""
        return self.source.name(int(self.stretches[self.stretch(number)]["recording"]))

    def names(self) -> str:
        """Hash the names of all recordings that clips are cut from; empty where one of them is not in the source."""
        hashed = sha256()
        try:
            for recording in np.unique(self.stretches["recording"]).tolist():
                hashed.update(self.source.name(recording).encode() + b"\0")
        except IndexError:
            return ""
        return hashed.hexdigest()

    def cut(self, stretch: int, generator: torch.Generator) -> Tensor:  # [samples at most]
        recording, begin, length = self.stretches[stretch].item()
        seconds = self.samples / self.sample_rate
        start = begin + max(0.0, length - seconds) * torch.rand((), generator=generator).item()
        # Not beyond the stretch, which may be followed by what is not to be used; at least a sample.
        seconds = max(min(seconds, length), 1 / self.sample_rate)
        return self.source.load(recording, self.sample_rate, start, seconds)


class ClipNumbers(Sampler[list[int]]):
    """The clip numbers of one rank's batches from batch `first` to batch `last` of the run.

    A run is one epoch to the Trainer, which goes on counting where a resumed one stopped: the length is the whole run's.
    begin: number of the clip with which batch `first` begins, over all ranks; None where all batches before were as large.
    """

    def __init__(
        self, first: int, last: int, batch_size: int, rank: int = 0, ranks: int = 1, begin: int | None = None
    ) -> None:
        self.first, self.last, self.batch_size, self.rank, self.ranks = first, last, batch_size, rank, ranks
        self.begin = first * ranks * batch_size if begin is None else begin

    def __len__(self) -> int:
        return self.last

    def __iter__(self) -> Iterator[list[int]]:
        yield from map(self.of, range(self.first, self.last))

    def of(self, batch: int) -> list[int]:
        start = self.before(batch) + self.rank * self.batch_size
        return list(range(start, start + self.batch_size))

    def before(self, batch: int) -> int:
        """Count the clips that all ranks have had before a batch."""
        return self.begin + (batch - self.first) * self.ranks * self.batch_size


def stretches_of(source: RecordingSource, seconds: float, bad_share: float) -> np.ndarray:
    """List what clips of so many seconds are cut from, by the recordings' headers; each once an epoch."""
    return split_spans(readable(source, bad_share), seconds)


def collate(clips: list[Batch] | OscineError) -> Batch | OscineError:
    return clips if isinstance(clips, OscineError) else default_collate(clips)


@lru_cache(maxsize=2)
def shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


class BadFileBudget:
    """Counts clips, and those whose own recording could not be read, over all processes that read for one rank."""

    def __init__(self, bad_share: float) -> None:
        self.bad_share = bad_share
        self.counts = get_context().Array("q", 2)  # clips, bad ones

    def add(self, error: AudioError | None) -> None:
        with self.counts.get_lock():
            total, bad = self.counts[0] + 1, self.counts[1] + (error is not None)
            self.counts[0], self.counts[1] = total, bad
        if error is not None:
            logger.warning("skipped for another recording (%s of %s clips so far): %s", bad, total, error)
            check_share(bad, total, "clips", last=error, bad_share=self.bad_share)


def check_share(bad: int, total: int, what: str, *, last: AudioError, bad_share: float) -> None:
    """Raise where more than a share of clips or recordings cannot be read, once `MIN_BAD` are bad."""
    if bad >= MIN_BAD and bad > bad_share * total:
        raise OscineError(
            f"{bad} of {total} {what} cannot be read, more than data.bad_share={bad_share:g} allows; the last is {last}; "
            "`oscine embed` and `oscine shards` list what is wrong with recordings"
        )


def readable(source: RecordingSource, bad_share: float) -> list[Span]:
    """List the spans of a source to cut clips from; log and leave out what cannot be read."""
    spans: list[Span] = []
    refused: list[AudioError] = []
    for found in source.spans():
        if isinstance(found, Span):
            spans.append(found)
            continue
        refused.append(found)
        logger.warning("left out: %s", found)
    total = len(spans) + len(refused)
    if refused:
        check_share(len(refused), total, "recordings", last=refused[-1], bad_share=bad_share)
    if not spans:
        raise OscineError(
            f"none of {counted(total, 'recording')} can be read; `oscine embed` lists what is wrong with them"
        )
    return spans
