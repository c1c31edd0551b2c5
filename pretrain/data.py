"""Clips to pretrain on. Every random choice depends on the seed and the clip's number in the run alone."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.multiprocessing import get_context
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from oscine.models.audio import AudioError, one_clip, one_thread
from oscine.models.audioset import find_audioset, is_audioset
from oscine.models.birdset import is_birdset
from oscine.models.errors import OscineError
from oscine.models.recordings import find_recordings
from oscine.pretrain.events import Events
from oscine.pretrain.manifests import MANIFESTS, read_manifest
from oscine.pretrain.recipe import Batch, DrawKeep, Recipe
from oscine.pretrain.shards import Shards, is_shards
from oscine.pretrain.stretches import Files, Source, Span, cut_up

logger = logging.getLogger(__name__)
PATIENCE = 20  # unreadable recordings in a row before a run stops: more than chance, a disk is gone
ENOUGH = (
    20  # bad ones before their share is looked at: fewer may be chance, and a small folder's few are no reason to stop
)


def find_source(recordings: Path | list[Path], events: int | None = 2, seed: int = 0) -> Source:
    """What `data.recordings` names: files, a manifest, shards, BirdSet's or AudioSet's folder, or one of recordings.

    events, seed: how many of a recording of BirdSet's, and which.
    """
    if isinstance(recordings, list):
        return Files(recordings)
    if recordings.suffix.lower() in MANIFESTS and not recordings.is_dir():
        return read_manifest(recordings)
    if is_shards(recordings):
        return Shards(recordings)
    if is_birdset(recordings):
        return Events(recordings, events, seed)
    return Files(find_audioset(recordings) if is_audioset(recordings) else find_recordings(recordings))


class ClipDataset(Dataset[Batch]):
    """Clip number 0, 1, 2, ... of an endless run over recordings: shuffled anew every epoch, cut and rolled at random.

    A recording of n clip lengths counts n times. A clip that its stretch does not fill is filled up with silence before it
    is rolled: shifted around its end by a random number of samples. `gain` multiplies each by Beta(10, 10) + 0.5. A
    recording that cannot be read is skipped for the next one; `bad_share` of them at most.
    """

    def __init__(
        self,
        source: Source,
        sample_rate: int,
        samples: int,
        draw_keep: DrawKeep,
        seed: int = 0,
        gain: bool = False,
        bad_share: float = 0.05,
    ) -> None:
        self.sample_rate, self.samples, self.seed, self.gain = sample_rate, samples, seed, gain
        self.draw_keep = draw_keep
        self.source = source
        if source.sample_rate not in (None, sample_rate):
            logger.warning("recordings packed at %s Hz are read at %s Hz", source.sample_rate, sample_rate)
        self.stretches = cut_up(readable(source, bad_share), samples / sample_rate)
        self.tally = Tally(bad_share)

    def __getitem__(self, number: int) -> Batch:
        generator = torch.Generator().manual_seed(key(self.seed, number))
        mixing = torch.tensor(key(self.seed, number, 2))  # another seed: what is mixed is not to go with what was cut
        order, place = self.place(number)
        first: AudioError | None = None
        for attempt in range(PATIENCE):
            try:
                clip = self.clip(int(order[(place + attempt) % len(order)]), generator)
            except AudioError as error:
                first, last = first or error, error
                continue
            self.tally.add(first)
            return Batch(clip, self.draw_keep(generator), mixing)
        raise OscineError(
            f"{PATIENCE} recordings in a row cannot be read, the last is {last}; is the disk still there?"
        )

    def __getitems__(self, numbers: list[int]) -> list[Batch] | OscineError:
        """Clips of one batch; an error is handed over as it is, where a worker would raise it as its traceback's text."""
        try:
            return [self[number] for number in numbers]
        except OscineError as error:
            return error

    def place(self, number: int) -> tuple[Tensor, int]:
        """The order of the stretches in a clip's epoch, and the clip's place in it."""
        epoch, place = divmod(number, len(self.stretches))
        return shuffled(len(self.stretches), key(self.seed, epoch, 1)), place

    def recording_of(self, number: int) -> str:
        """Name of the recording that a clip is cut from, if that can be read."""
        order, place = self.place(number)
        return self.source.name(int(self.stretches[int(order[place])]["recording"]))

    def clip(self, stretch: int, generator: torch.Generator) -> Tensor:  # [samples]
        recording, begin, length = self.stretches[stretch].item()
        seconds = self.samples / self.sample_rate
        start = begin + max(0.0, length - seconds) * torch.rand((), generator=generator).item()
        # Not beyond the stretch, which may be followed by what is not to be heard; at least a sample.
        heard = max(min(seconds, length), 1 / self.sample_rate)
        waveform = self.source.load(recording, self.sample_rate, start, heard)
        clip = one_clip(waveform, self.samples)
        shift = int(torch.randint(self.samples, (), generator=generator))
        if self.gain:
            clip = clip * (
                torch.from_numpy(np.random.default_rng(generator.initial_seed()).beta(10, 10, 1)).float() + 0.5
            )
        return clip.roll(shift)


class Tally:
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
            check_share(bad, total, "clips", error, self.bad_share)


def check_share(bad: int, total: int, what: str, last: AudioError, bad_share: float) -> None:
    if bad >= ENOUGH and bad > bad_share * total:
        raise OscineError(
            f"{bad} of {total} {what} cannot be read, more than data.bad_share={bad_share:g} allows; the last is {last}; "
            "`oscine embed` and `oscine shards` list what is wrong with recordings"
        )


def readable(source: Source, bad_share: float) -> list[Span]:
    """What may be heard of a source; what cannot be read is logged and left out."""
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
        check_share(len(refused), total, "recordings", refused[-1], bad_share)
    if not spans:
        raise OscineError(f"none of {total} recordings can be read; `oscine embed` lists what is wrong with them")
    return spans


class Numbers(Sampler[list[int]]):
    """The clip numbers of one rank's batches from batch `first` to batch `last` of the run.

    A run is one epoch to the Trainer, which goes on counting where a resumed one stopped: the length is the whole run's.
    """

    def __init__(self, first: int, last: int, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.first, self.last, self.batch_size, self.rank, self.ranks = first, last, batch_size, rank, ranks

    def __len__(self) -> int:
        return self.last

    def __iter__(self) -> Iterator[list[int]]:
        yield from map(self.of, range(self.first, self.last))

    def of(self, batch: int) -> list[int]:
        start = (batch * self.ranks + self.rank) * self.batch_size
        return list(range(start, start + self.batch_size))


class PretrainingData(LightningDataModule):
    """Recordings as batches for a recipe; a resumed run continues with the batch it would have had.

    Args:
        recordings: a folder, searched at every depth; a folder of shards that `oscine shards` made; a manifest (CSV or
            Parquet with a column path, relative to it, and optional start and end in seconds); a folder of BirdSet's as
            it lies on the Hub, such as XCL, whose clips are cut around events; AudioSet's folder; or a list of files.
        batch_size: clips of a step, on each device and in each accumulated part.
        workers: processes that read and resample.
        seed: of the order of the clips, their cuts and masks.
        seconds: length of the clips that are cut; null is the encoder's, a shorter one is filled up in the spectrogram.
        gain: whether a clip is made louder or softer at random, by Beta(10, 10) + 0.5.
        events: of a recording of BirdSet's, for species with more than 500 of them; null is all.
        bad_share: of clips whose recording cannot be read and is skipped for another, above which the run stops, once 20
            are bad.
    """

    def __init__(
        self,
        recordings: Path | list[Path],
        batch_size: int = 12,
        workers: int = 2,
        seed: int = 0,
        seconds: float | None = None,
        gain: bool = False,
        events: int | None = 2,
        bad_share: float = 0.05,
    ) -> None:
        super().__init__()
        if not 0 <= bad_share <= 1:
            raise OscineError(f"bad_share is {bad_share}, expected a share from 0 (none) to 1 (all)")
        self.seconds = seconds
        self.source = find_source(recordings, events, seed)  # now: what is not there is said before a run is touched
        self.batch_size, self.workers = batch_size, workers
        self.seed, self.gain, self.bad_share = seed, gain, bad_share

    def on_before_batch_transfer(self, batch: Batch | OscineError, dataloader_idx: int) -> Batch:
        if isinstance(batch, OscineError):
            raise batch
        return batch

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        waveform, keep = (tensor.to(device, non_blocking=True) for tensor in (batch.waveform, batch.keep))
        return Batch(waveform, keep, batch.seed)  # seeds are read on the CPU

    def train_dataloader(self) -> DataLoader[Batch]:
        trainer = self.trainer
        assert trainer is not None, "these batches are made for a Trainer's run"
        recipe = trainer.lightning_module
        assert isinstance(recipe, Recipe), "batches carry the masks that a recipe draws"
        encoder = recipe.encoder
        samples = encoder.samples if self.seconds is None else round(self.seconds * encoder.sample_rate)
        if not 0 < samples <= encoder.samples:
            raise OscineError(f"clips of {self.seconds} s for an encoder of {encoder.seconds:g} s; cut at most as much")
        dataset = self.dataset = ClipDataset(
            self.source, encoder.sample_rate, samples, recipe.draw_keep, self.seed, self.gain, self.bad_share
        )
        parts = trainer.accumulate_grad_batches
        numbers = self.numbers = Numbers(
            trainer.global_step * parts,
            trainer.max_steps * parts,
            self.batch_size,
            trainer.global_rank,
            trainer.world_size,
        )
        return DataLoader(
            dataset,
            batch_sampler=numbers,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=collate,
            worker_init_fn=_begin_reading,
            pin_memory=torch.cuda.is_available(),
        )

    def recordings_of(self, batch: int) -> list[str]:
        """Names of the recordings that this process's batch of that number is cut from."""
        return [self.dataset.recording_of(number) for number in self.numbers.of(batch)]


def collate(clips: list[Batch] | OscineError) -> Batch | OscineError:
    return clips if isinstance(clips, OscineError) else default_collate(clips)


def key(*numbers: int) -> int:
    """A seed that depends on all the numbers and on nothing else."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@lru_cache(maxsize=2)
def shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _begin_reading(worker: int) -> None:
    one_thread(worker)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a cluster tells every process of a job; only the run is to stop
