"""A run ends before numbers that are none spoil it, and says which recordings they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from oscine.models.errors import OscineError
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.states import kept


class StaysFinite(Callback):
    """Stops a run whose loss or weights are no numbers any more, before they replace its state or become its encoder.

    The losses wait on their device until they are looked at, so that no step waits for it; the first that is no number
    says which batch it was, and the batch's recordings are named.
    """

    def __init__(self, state: Path, log_every: int, save_every: int) -> None:
        self.state, self.log_every, self.save_every = state, log_every, save_every
        self.losses: list[torch.Tensor] = []
        self.batch = 0  # of the run, the first whose loss waits

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.batch, self.losses = trainer.global_step * trainer.accumulate_grad_batches, []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(outputs["loss"].detach())
        step = trainer.global_step
        if step % self.log_every == 0 or step % self.save_every == 0 or step == trainer.max_steps:
            self.check(trainer, list(pl_module.parameters()))
            self.batch, self.losses = self.batch + len(self.losses), []

    def check(self, trainer: Trainer, weights: list[torch.Tensor]) -> None:
        finite = [tensor.isfinite().all() for tensor in (*self.losses, *weights)]
        good = bool(torch.stack(finite).all())
        if trainer.strategy.reduce_boolean_decision(good):  # one rank alone would leave the others waiting
            return
        losses = torch.stack(finite[: len(self.losses)]).tolist()
        # Where the losses are numbers, the last of them has spoilt the weights.
        first = self.batch + (losses.index(False) if False in losses else len(losses) - 1)
        step = first // trainer.accumulate_grad_batches + 1
        raise OscineError(
            f"loss or weights are not finite at step {step}{cut_from(trainer, first)}; {kept(self.state)}; a new run "
            "with a lower recipe.lr or a trainer.gradient_clip_val may do better"
        )


def cut_from(trainer: Trainer, batch: int) -> str:
    """The recordings that a batch of this process was cut from, as a clause of a sentence."""
    data = getattr(trainer, "datamodule", None)  # a Trainer's own tests have none
    if not isinstance(data, PretrainingData):
        return ""
    return f" in a batch of {', '.join(dict.fromkeys(data.recordings_of(batch)))}"
