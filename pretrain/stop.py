"""A run ends between two steps, with its state kept, when it is told to."""

from __future__ import annotations

import signal
import threading
from typing import Any

from lightning import Callback, LightningModule, Trainer

from oscine.models.errors import OscineError

AGREE = 10  # steps from one agreement of the processes to the next: soon, where a cluster leaves minutes


class Stopped(OscineError):
    """A run that was told to stop, has kept its state and wants to be resumed."""


class StopsWhenTold(Callback):
    """Ends a run between two steps after SIGUSR1, which a cluster sends before it takes its machines back.

    The processes of a run are told at different moments, so they agree every few steps.
    """

    def __init__(self) -> None:
        self.told = False
        self.asked = 0  # the last step after which the processes could agree
        self.before: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may listen
            self.before = signal.signal(signal.SIGUSR1, self.hear)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.before is not None:
            signal.signal(signal.SIGUSR1, self.before)

    def hear(self, *_: Any) -> None:
        self.told = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.asked = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step != self.asked and step % AGREE == 0:  # not after a part of a step, which a resumed run would begin anew
            self.asked = step
            trainer.should_stop |= trainer.strategy.reduce_boolean_decision(self.told, all=False)
