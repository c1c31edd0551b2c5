"""Clips to pretrain on. Every random choice depends on the seed and the clip's number in the run alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from oscine.models.audio import AudioError, load_audio, one_clip, one_thread, read_headers
from oscine.models.errors import OscineError
from oscine.models.recordings import find_recordings
from oscine.pretrain.recipe import Batch, DrawKeep, Recipe

logger = logging.getLogger(__name__)
PATIENCE = 20  # unreadable recordings in a row before a run stops: more than chance, a disk is gone


class Stretch(NamedTuple):
    """A part of a recording that one clip an epoch is cut from."""

    path: Path
    start: float
    seconds: float


class ClipDataset(Dataset[Batch]):
    """Clip number 0, 1, 2, ... of an endless run over recordings: shuffled anew every epoch, cut and rolled at random.

    A recording of n clip lengths counts n times. A clip that its stretch does not fill is filled up with silence before it
    is rolled: shifted around its end by a random number of samples. `gain` multiplies each by Beta(10, 10) + 0.5.
    """

    def __init__(
        self,
        recordings: list[Path],
        sample_rate: int,
        samples: int,
        draw_keep: DrawKeep,
        seed: int = 0,
        gain: bool = False,
    ) -> None:
        self.sample_rate, self.samples, self.seed, self.gain = sample_rate, samples, seed, gain
        self.draw_keep = draw_keep
        self.stretches = list(stretches(recordings, samples / sample_rate))
        if not self.stretches:
            raise OscineError(
                f"none of {len(recordings)} recordings can be read; `oscine embed` lists what is wrong with them"
            )

    def __getitem__(self, number: int) -> Batch:
        generator = torch.Generator().manual_seed(key(self.seed, number))
        mixing = torch.tensor(key(self.seed, number, 2))  # another seed: what is mixed is not to go with what was cut
        epoch, place = divmod(number, len(self.stretches))
        order = shuffled(len(self.stretches), key(self.seed, epoch, 1))
        for attempt in range(PATIENCE):
            stretch = self.stretches[order[(place + attempt) % len(order)]]
            try:
                return Batch(self.clip(stretch, generator), self.draw_keep(generator), mixing)
            except AudioError as error:
                logger.warning("skipped for the next recording: %s", error)
        raise OscineError(
            f"{PATIENCE} recordings in a row cannot be read, the last is {stretch.path}; is the disk still there?"
        )

    def __getitems__(self, numbers: list[int]) -> list[Batch] | OscineError:
        """Clips of one batch; an error is handed over as it is, where a worker would raise it as its traceback's text."""
        try:
            return [self[number] for number in numbers]
        except OscineError as error:
            return error

    def clip(self, stretch: Stretch, generator: torch.Generator) -> Tensor:  # [samples]
        seconds = self.samples / self.sample_rate
        start = stretch.start + max(0.0, stretch.seconds - seconds) * torch.rand((), generator=generator).item()
        waveform = load_audio(stretch.path, self.sample_rate, start, seconds)
        clip = one_clip(waveform, self.samples)
        shift = int(torch.randint(self.samples, (), generator=generator))
        if self.gain:
            clip = clip * (
                torch.from_numpy(np.random.default_rng(generator.initial_seed()).beta(10, 10, 1)).float() + 0.5
            )
        return clip.roll(shift)


class Numbers(Sampler[list[int]]):
    """The clip numbers of one rank's batches from batch `first` to batch `last` of the run.

    A run is one epoch to the Trainer, which goes on counting where a resumed one stopped: the length is the whole run's.
    """

    def __init__(self, first: int, last: int, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.first, self.last, self.batch_size, self.rank, self.ranks = first, last, batch_size, rank, ranks

    def __len__(self) -> int:
        return self.last

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.first, self.last):
            start = (batch * self.ranks + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))


class PretrainingData(LightningDataModule):
    """Recordings as batches for a recipe; a resumed run continues with the batch it would have had.

    Args:
        recordings: a folder, searched at every depth, or a list of files.
        batch_size: clips of a step, on each device and in each accumulated part.
        workers: processes that read and resample.
        seed: of the order of the clips, their cuts and masks.
        seconds: length of the clips that are cut; null is the encoder's, a shorter one is filled up in the spectrogram.
        gain: whether a clip is made louder or softer at random, by Beta(10, 10) + 0.5.
    """

    def __init__(
        self,
        recordings: Path | list[Path],
        batch_size: int = 12,
        workers: int = 2,
        seed: int = 0,
        seconds: float | None = None,
        gain: bool = False,
    ) -> None:
        super().__init__()
        self.seconds = seconds
        self.recordings, self.batch_size, self.workers = recordings, batch_size, workers
        self.seed, self.gain = seed, gain

    def on_before_batch_transfer(self, batch: Batch | OscineError, dataloader_idx: int) -> Batch:
        if isinstance(batch, OscineError):
            raise batch
        return batch

    def train_dataloader(self) -> DataLoader[Batch]:
        trainer = self.trainer
        assert trainer is not None, "these batches are made for a Trainer's run"
        recipe = trainer.lightning_module
        assert isinstance(recipe, Recipe), "batches carry the masks that a recipe draws"
        encoder = recipe.encoder
        given = self.recordings
        files = given if isinstance(given, list) else find_recordings(given)
        samples = encoder.samples if self.seconds is None else round(self.seconds * encoder.sample_rate)
        if not 0 < samples <= encoder.samples:
            raise OscineError(f"clips of {self.seconds} s for an encoder of {encoder.seconds:g} s; cut at most as much")
        dataset = ClipDataset(files, encoder.sample_rate, samples, recipe.draw_keep, self.seed, self.gain)
        parts = trainer.accumulate_grad_batches
        numbers = Numbers(
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
            worker_init_fn=one_thread,
            pin_memory=torch.cuda.is_available(),
        )


def collate(clips: list[Batch] | OscineError) -> Batch | OscineError:
    return clips if isinstance(clips, OscineError) else default_collate(clips)


def stretches(recordings: list[Path], seconds: float) -> Iterator[Stretch]:
    """Recordings cut into parts of at least one clip's length, where they are that long; unreadable ones are left out."""
    for path, info in zip(recordings, read_headers(recordings)):
        if isinstance(info, AudioError):
            logger.warning("left out: %s", info)
            continue
        length = info.seconds
        parts = max(1, int(length / seconds))
        for part in range(parts):
            yield Stretch(path, part * length / parts, length / parts)


def key(*numbers: int) -> int:
    """A seed that depends on all the numbers and on nothing else."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@lru_cache(maxsize=2)
def shuffled(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
