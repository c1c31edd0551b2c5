"""Bird-MAE's pretraining end to end from FLAC and Ogg files: the frontend for a batch, on the device, against clip by clip
in the processes that read, where the authors have it.

python benchmarks/pretrain_files.py --size tiny --clips 8 --workers 1 --threads 1
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
from pretrain_step import bird_mae
from torch.utils.data import DataLoader, default_collate

from oscine.models.encoders.frontends.mel import PATCH
from oscine.pretrain import Recipe
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.recipe import Batch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
WARM = 5  # steps that are not timed: clips that were read ahead are used up
FILES, SECONDS = 16, 30.0  # recordings, half of them FLAC, half Ogg, at the encoder's rate; length of each


class Plain(PretrainingData):
    """Every clip is varied and becomes a spectrogram by itself, in the process that read it."""

    def take_from(self, recipe: Recipe) -> None:
        """A recipe's frontend is from now on used here, not there."""
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


def run(recipe: Recipe, data: PretrainingData, device: str, precision: Any) -> tuple[float, float]:
    """The first step's loss, and the seconds of those that are timed."""
    clock = Clock()
    Trainer(
        max_steps=recipe.steps, accelerator=device, devices=1, precision=precision, callbacks=[clock], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    ).fit(recipe, datamodule=data)  # fmt: skip
    (loss, _), (_, begin), (_, end) = clock.seen
    return loss, end - begin


def measure(
    size: Literal["tiny", "small", "base"] = "tiny",
    clips: int = 8,
    steps: int = 20,
    workers: int = 1,
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
    precision: str = "32-true",
) -> None:
    """Run both ways, assert that the first steps have the same loss, and print clips a second and their ratio.

    Args:
        size: of the encoder; the decoder goes with it.
        clips: of a batch.
        steps: that are timed.
        workers: processes that read.
        threads: that torch may use in the process that computes.
        device: where.
        precision: the Trainer's, such as bf16-mixed.
    """
    torch.set_num_threads(threads)
    ours = bird_mae(size, views=1, compile=None)
    ours.steps = WARM + steps
    theirs = copy.deepcopy(ours)
    with TemporaryDirectory() as folder:
        for number in range(FILES):
            noise = np.random.default_rng(number).normal(0, 0.1, round(SECONDS * ours.encoder.sample_rate))
            soundfile.write(f"{folder}/{number}.{('flac', 'ogg')[number % 2]}", noise, ours.encoder.sample_rate)
        loss, taken = run(ours, PretrainingData(Path(folder), clips, workers), device, precision)
        plain = Plain(Path(folder), clips, workers)
        plain.take_from(theirs)
        expected, taken_plain = run(theirs, plain, device, precision)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    print(
        f"Bird-MAE {size}, {clips} clips, {workers} workers, {device}, {precision}: ours {clips * steps / taken:.1f} "
        f"clips/s, plain {clips * steps / taken_plain:.1f} clips/s, ratio {taken_plain / taken:.2f}"
    )


if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
