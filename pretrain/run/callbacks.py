"""Call back after steps of a run: every so many, to tell its progress, to discard the run that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from oscine.models.progress import ShowProgress
from oscine.models.replace_outputs import Replaced
from oscine.pretrain.run.files import has_state_or_encoder


class EveryNSteps(Callback):
    """Calls `before_step` before the optimiser of a step that is due, and `after_step` with its batch when the step is done.

    Due are the first step and then every `every`-th. Steps are the optimiser's: of a step in parts `after_step` comes
    once, with the last part. call: what `after_step` does where it is not overridden, given trainer and recipe.
    """

    def __init__(self, every: int, call: Callable[[Trainer, Any], None] | None = None) -> None:
        self.every, self.call = every, call
        self.due = False

    def before_step(self, trainer: Trainer, recipe: Any) -> None:
        """Do what needs gradients: they are there, weights are as before the step."""

    def after_step(self, trainer: Trainer, recipe: Any, batch: Any) -> None:
        """Do what is due when the step is done."""
        if self.call:
            self.call(trainer, recipe)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        step = trainer.global_step + 1
        self.due = step == 1 or step % self.every == 0
        if self.due:
            self.before_step(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.due:
            self.due = False
            self.after_step(trainer, pl_module, batch)


class ProgressCallback(Callback):
    """Tells the optimiser steps of a run, and its loss as it is logged."""

    def __init__(self, progress: ShowProgress, every: int) -> None:
        self.progress, self.every = progress, every
        self.note = ""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step % self.every == 0:  # reading the loss waits for the device
            self.note = f"loss {trainer.callback_metrics['loss']:.4f}"
        self.progress(trainer.global_step, trainer.max_steps, self.note)


class DiscardReplaced(Callback):
    """Deletes the run that was replaced once the new one stands."""

    def __init__(self, replaced: Replaced) -> None:
        self.replaced, self.settled = replaced, False

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if not self.settled and has_state_or_encoder(self.replaced.folder):
            self.replaced.discard()
            self.settled = True
