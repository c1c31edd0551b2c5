"""Pretraining end to end from FLAC and Ogg files: the frontend for a batch, on the device, against clip by clip in the
processes that read, where the authors have it.

python benchmarks/pretrain_files.py --recipe bird_mae --size tiny --clips 8 --workers 1 --threads 1
"""

from __future__ import annotations

import copy
import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import soundfile
import torch
from jsonargparse import auto_cli
from lightning import Callback, LightningModule, Trainer
from pretrain_step import MAKE
from torch.utils.data import DataLoader, default_collate

from oscine.models.layers import PATCH
from oscine.pretrain import Recipe
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.recipe import Batch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
WARM = 5  # steps that are not timed, in which clips that were read ahead are used up
FILES, SECONDS = 16, 30.0  # recordings, half of them FLAC, half Ogg, at the encoder's rate; length of each


class Plain(PretrainingData):
    """Every clip is varied and becomes a spectrogram by itself, in the process that read it."""

    def of(self, recipe: Recipe) -> None:
        """Take a recipe's frontend away from it."""
        self.frontend, self.frames = copy.deepcopy(recipe.encoder.frontend), recipe.encoder.grid[0] * PATCH
        recipe.augment = lambda clips, seed: clips  # mixing, which needs the waveforms, is off
        recipe.spectrogram = lambda clips: clips

    def train_dataloader(self) -> DataLoader[Batch]:
        loader = super().train_dataloader()
        loader.collate_fn = self.collate
        return loader

    def collate(self, clips: list[Batch]) -> Batch:
        alone = [super(Plain, self).on_after_batch_transfer(default_collate([clip]), 0).waveform for clip in clips]
        spectrograms = [self.frontend(waveform, self.frames)[0] for waveform in alone]
        return default_collate([clip._replace(waveform=made) for clip, made in zip(clips, spectrograms)])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch


class Clock(Callback):
    """Of the first step, the last that warms up and the last of all: the loss, and when it was there."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        if trainer.global_step in (1, WARM, trainer.max_steps):
            self.seen.append((outputs["loss"].item(), time.perf_counter()))  # which waits for the device


def write_files(folder: Path, rate: int) -> None:
    for number in range(FILES):
        noise = np.random.default_rng(number).normal(0, 0.1, round(SECONDS * rate))
        soundfile.write(folder / f"{number}.{('flac', 'ogg')[number % 2]}", noise, rate)


def run(recipe: Recipe, data: PretrainingData, device: str, precision: Any) -> tuple[float, float]:
    """The first step's loss, and seconds of those that are timed."""
    clock = Clock()
    Trainer(
        max_steps=recipe.steps, accelerator=device, devices=1, precision=precision, callbacks=[clock], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    ).fit(recipe, datamodule=data)  # fmt: skip
    (loss, _), (_, begin), (_, end) = clock.seen
    return loss, end - begin


def measure(
    recipe: Literal["bat", "bird_mae"] = "bird_mae",
    size: Literal["tiny", "small", "base"] = "tiny",
    clips: int = 8,
    views: int = 16,
    steps: int = 20,
    workers: int = 1,
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
    precision: str = "32-true",
) -> None:
    """Run both ways, assert that the first steps have the same loss, and print clips a second and their ratio.

    Args:
        recipe: whose steps.
        size: of the encoder; the decoder goes with it.
        clips: of a batch.
        views: of a clip, in BAT.
        steps: that are timed.
        workers: processes that read.
        threads: that torch may use in the process that computes.
        device: where.
        precision: the Trainer's, such as bf16-mixed.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    ours = MAKE[recipe](size, views, None)
    ours.steps = WARM + steps
    theirs = copy.deepcopy(ours)
    with TemporaryDirectory() as folder:
        write_files(Path(folder), ours.encoder.sample_rate)
        mine, plain = PretrainingData(Path(folder), clips, workers), Plain(Path(folder), clips, workers)
        plain.of(theirs)
        loss, taken = run(ours, mine, device, precision)
        expected, taken_plain = run(theirs, plain, device, precision)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    rate, rate_plain = clips * steps / taken, clips * steps / taken_plain
    say = f"{recipe} {size}, {clips} clips, {workers} workers, {device}, {precision}"
    print(f"{say}: ours {rate:.1f} clips/s, plain {rate_plain:.1f} clips/s, ratio {rate / rate_plain:.2f}")


if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
