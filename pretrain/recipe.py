"""What every recipe is: an encoder, a way to draw masks and the losses they lead to; what outlives it is the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from einops import rearrange
from lightning import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.frontends.mel import PATCH
from oscine.models.errors import OscineError
from oscine.pretrain.settings import check_compile


class Batch(NamedTuple):
    """waveform [clips, samples]; heard [clips], how many of them are the recording's, before silence fills it up;
    keep [clips, views, kept], the patches that each view of a clip shows; seed [clips].

    `heard` and `seed` are best left on the CPU: to read them from a GPU waits for all that it still has to do.
    """

    waveform: Tensor
    heard: Tensor
    keep: Tensor
    seed: Tensor


STEP = 5  # which of a clip's random numbers, see `drawn_by` in models/augment
DrawKeep = Callable[[torch.Generator], Tensor]  # [views, kept], on the CPU


class Recipe(LightningModule):
    """A subclass gives the masks of a clip, the losses and the optimiser, and says which encoders it `takes`.

    `steps` are a whole run's optimiser steps. `compile` is a mode of torch.compile for the losses, "reduce-overhead" with
    CUDA graphs; None leaves them as they are. Compiled sums come in another order, hence in other last bits.
    """

    takes: type[Encoder] = Encoder
    rolls_before_filling = (
        False  # whether a clip is shifted around the end of its recording, or of the silence behind that
    )

    def __init__(self, encoder: Encoder, steps: int, compile: str | None = None) -> None:
        super().__init__()
        check_compile(compile)
        if not isinstance(encoder, self.takes):
            raise OscineError(
                f"{type(self).__name__} takes a {self.takes.__name__}, not a {type(encoder).__name__}; choose that"
            )
        self.encoder: Encoder = encoder.train()
        self.steps = steps
        self.compile_mode = compile
        self.compiled: Callable[..., dict[str, Tensor]] | None = None

    @property
    def draw_keep(self) -> DrawKeep:
        """Draws the masks of one clip. It is sent to the processes that read clips, so it holds numbers, not the recipe."""
        raise NotImplementedError

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """The terms whose sum is minimised. spectrogram [clips, frames, mel]; keep [clips * views, kept], clip-major."""
        raise NotImplementedError

    def augment(self, waveform: Tensor, seed: Tensor) -> Tensor:  # [clips, samples]
        """What is done to a batch of clips before they are looked at. seed [clips], on the CPU."""
        return waveform

    def targets(self, spectrogram: Tensor) -> Tensor:  # [clips, patches, dim]
        """What the losses want predicted of every patch. spectrogram [clips, frames, mel]."""
        raise NotImplementedError

    def schedules(self) -> dict[str, float]:
        """What changes with the steps besides the learning rate, by name, as it is now."""
        return {}

    def spectrogram(self, waveform: Tensor) -> Tensor:  # [clips, frames, mel]
        """With as many frames as the encoder's own clip has, also where the clips are cut a little shorter."""
        return self.encoder.frontend(waveform, self.encoder.grid[0] * PATCH)

    def compiled_losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """`losses`, compiled if so wished; at the first step, when everything is on its device."""
        if self.compile_mode is None:
            return self.losses(spectrogram, keep)
        self.compiled = self.compiled or torch.compile(self.losses, mode=self.compile_mode)
        return self.compiled(spectrogram, keep)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        # Of what blocks draw, such as paths to drop: a run that goes on draws what it would have.
        torch.manual_seed(int(batch.seed[0]) ^ STEP)
        spectrogram = self.spectrogram(self.augment(batch.waveform, batch.seed))
        losses = self.compiled_losses(spectrogram, rearrange(batch.keep, "clip view kept -> (clip view) kept"))
        terms = torch.stack(list(losses.values()))
        shown = self.over_processes(terms.detach())
        self.log("loss", shown.sum(), prog_bar=True)
        if len(losses) > 1:
            self.log_dict({f"loss/{name}": term for name, term in zip(losses, shown)})
        return terms.sum()

    def over_processes(self, terms: Tensor) -> Tensor:
        """Their means, at steps that are logged: no process waits for the others at any other."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # which it gets from its logger
        logged = (self.trainer.global_step + 1) % every == 0
        return self.trainer.strategy.reduce(terms.clone(), reduce_op="mean") if logged else terms

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A state says what its encoder is, so that another run can start from it."""
        checkpoint["encoder"] = {"architecture": type(self.encoder).__name__, "config": self.encoder.config}

    def on_train_start(self) -> None:
        """Learning rate and weight decay are those of the settings; a state brings those that its run had."""
        planned = cast(dict[str, Any], self.configure_optimizers())
        optimizer, scheduler = self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler
        assert isinstance(scheduler, LambdaLR)
        scheduler.base_lrs = planned["lr_scheduler"]["scheduler"].base_lrs
        shares = [share(scheduler.last_epoch) for share in scheduler.lr_lambdas]
        for group, new, peak, share in zip(
            optimizer.param_groups, planned["optimizer"].param_groups, scheduler.base_lrs, shares, strict=True
        ):
            group["lr"], group["weight_decay"] = peak * share, new["weight_decay"]
