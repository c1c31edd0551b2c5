"""What a run does at its first step and then every so many, when the step is done."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer


class EveryNSteps(Callback):
    """Calls `begin` before the optimiser of a step that is due, and `look` with its batch when the step is done.

    Due are the first step and then every `every`-th. Steps are the optimiser's: of a step in several parts `look` comes
    once, with the last part.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.due = False

    def begin(self, trainer: Trainer, recipe: Any) -> None:
        """Gradients are there, weights are as before the step."""

    def look(self, trainer: Trainer, recipe: Any, batch: Any) -> None:
        raise NotImplementedError

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        step = trainer.global_step + 1
        self.due = step == 1 or step % self.every == 0
        if self.due:
            self.begin(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.due:
            self.due = False
            self.look(trainer, pl_module, batch)
