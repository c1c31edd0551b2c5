"""What every recipe is: an encoder, a way to draw masks and the losses they lead to; what outlives it is the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from lightning import LightningModule
from torch import Tensor

from oscine.models.encoder import Encoder
from oscine.models.layers import PATCH


class Batch(NamedTuple):
    """waveform [clips, samples]; keep [clips, views, kept], the patches that each view of a clip shows; seed [clips]."""

    waveform: Tensor
    keep: Tensor
    seed: Tensor


DrawKeep = Callable[[torch.Generator], Tensor]  # [views, kept], on the CPU


class Recipe(LightningModule):
    """A subclass gives the masks of a clip, the losses and the optimiser. `steps` are a whole run's optimiser steps."""

    def __init__(self, encoder: Encoder, steps: int) -> None:
        super().__init__()
        self.encoder: Encoder = encoder.train()
        self.steps = steps

    @property
    def draw_keep(self) -> DrawKeep:
        """Draws the masks of one clip. It is sent to the processes that read clips, so it holds numbers, not the recipe."""
        raise NotImplementedError

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """The terms whose sum is minimised. spectrogram [clips, frames, mel]; keep [clips * views, kept], clip-major."""
        raise NotImplementedError

    def augment(self, waveform: Tensor, generator: torch.Generator) -> Tensor:  # [clips, samples]
        """What is done to a batch of clips before they are looked at."""
        return waveform

    def training_step(self, batch: Batch, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(int(batch.seed[0]))
        # As many frames as the encoder's own clip has, also where the clips are cut a little shorter.
        frames = self.encoder.grid[0] * PATCH
        spectrogram = self.encoder.frontend(self.augment(batch.waveform, generator), frames)
        losses = self.losses(spectrogram, rearrange(batch.keep, "clip view kept -> (clip view) kept"))
        loss = torch.stack(list(losses.values())).sum()
        self.log("loss", loss, prog_bar=True)
        if len(losses) > 1:
            self.log_dict({f"loss/{name}": term for name, term in losses.items()})
        return loss
