"""What every recipe is: an encoder, a way to draw masks and the losses they lead to; what outlives it is the encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from lightning import LightningModule
from torch import Tensor

from oscine.models.encoder import Encoder


class Batch(NamedTuple):
    """waveform [clips, samples]; keep [clips, views, kept], the patches that each view of a clip shows; seed [clips]."""

    waveform: Tensor
    keep: Tensor
    seed: Tensor


class Recipe(LightningModule):
    """A subclass gives the masks of a clip, the losses and the optimiser. `steps` are a whole run's optimiser steps."""

    def __init__(self, encoder: Encoder, steps: int) -> None:
        super().__init__()
        self.encoder: Encoder = encoder.train()
        self.steps = steps

    def draw_keep(self, generator: torch.Generator) -> Tensor:  # [views, kept]
        """The masks of one clip, drawn on the CPU."""
        raise NotImplementedError

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """The terms whose sum is minimised. spectrogram [clips, frames, mel]; keep [clips * views, kept], clip-major."""
        raise NotImplementedError

    def augment(self, waveform: Tensor, generator: torch.Generator) -> Tensor:  # [clips, samples]
        """What is done to a batch of clips before they are looked at."""
        return waveform

    def training_step(self, batch: Batch, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(int(batch.seed[0]))
        spectrogram = self.encoder.frontend(self.augment(batch.waveform, generator))
        losses = self.losses(spectrogram, rearrange(batch.keep, "clip view kept -> (clip view) kept"))
        loss = torch.stack(list(losses.values())).sum()
        self.log("loss", loss, prog_bar=True)
        if len(losses) > 1:
            self.log_dict({f"loss/{name}": term for name, term in losses.items()})
        return loss
