"""Between two steps of a run: numbers that are none end it, its state is kept, and it stops where it is told to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.run.states import kept

NEVER = 2**62
AGREE = 10  # steps from one agreement of a run's processes to the next: soon, where a cluster leaves minutes
# Before its time is up; when others need the machine; when the terminal is closed. Windows knows the second alone.
ORDERS = tuple(signal.Signals[name] for name in ("SIGUSR1", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Exit codes: try again (sysexits.h), with which a job script requeues itself; and, with its number, of any other signal.
COME_AGAIN, SIGNALLED = 75, 128


class Stopped(OscineError):
    """A run that was told to stop by a signal and has kept its state; how it goes on is for its command to say."""

    def __init__(self, message: str, by: signal.Signals | None) -> None:
        super().__init__(message)
        self.by = by

    @property
    def code(self) -> int:
        """That the process ends with."""
        return COME_AGAIN if self.by is None or self.by.name == "SIGUSR1" else SIGNALLED + self.by


class Diverged(OscineError):
    """A run whose loss or weights are no numbers any more."""


class DiskError(OscineError):
    """A run that could not write. resumable: whether a state from before was kept."""

    def __init__(self, message: str, resumable: bool) -> None:
        super().__init__(message)
        self.resumable = resumable


class StepBoundary(Checkpoint):
    """Looks at the losses and weights of a run, then keeps its state, then stops it if it was told to: in this order, so
    that no state holds what is no number, and no run stops without its state.

    State: every `save_every` steps, at the last one, and when the run stops. It is the Trainer's last callback, as all that
    keep states are: what others remember of the step is in it.

    Losses wait on their device until they are looked at, every `log_every` steps and before a state is kept, so that no step
    waits for them. The first that is no number says which batch it was, and the process that had it names its recordings.

    The processes of a run are told to stop at different moments, so they agree every few steps. Told a second time to end,
    one does so at once.
    """

    def __init__(self, state: Path, log_every: int, save_every: int) -> None:
        self.state, self.log_every, self.save_every = state, log_every, save_every
        self.step = 0  # the last that was looked at
        self.batch = 0  # of the run, the first whose loss waits
        self.losses: list[Tensor] = []
        self.told: signal.Signals | None = None
        self.orders: Sequence[signal.Signals] = ORDERS

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear orders while the block runs, also before the first step; whoever heard them before does so again after it."""
        before = {number: signal.getsignal(number) for number in ORDERS}
        self.orders = [
            number for number in ORDERS if before[number] != signal.SIG_IGN
        ]  # nohup ignores a closed terminal
        self.listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, heard in before.items():
                    signal.signal(number, heard)

    def listen(self) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in self.orders:
                signal.signal(number, self.hear)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.listen()  # the Trainer has put handlers of its own in between
        self.step = trainer.global_step
        self.batch, self.losses = self.step * trainer.accumulate_grad_batches, []

    def hear(self, number: int, frame: Any) -> None:
        order = signal.Signals(number)
        if self.told == order and order.name != "SIGUSR1":
            raise KeyboardInterrupt
        self.told = order

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(outputs["loss"].detach())
        step = trainer.global_step
        if step == self.step:  # a part of a step, which a resumed run would begin anew
            return
        self.step = step
        order = self.agree(trainer)
        save = order is not None or step == trainer.max_steps or step % self.save_every == 0
        if save or step % self.log_every == 0:
            self.check(trainer, list(pl_module.parameters()))
            self.batch, self.losses = self.batch + len(self.losses), []
        if save:
            trainer.save_checkpoint(self.state)
        if order is not None and step < trainer.max_steps:
            self.told = order
            trainer.should_stop = True

    def agree(self, trainer: Trainer) -> signal.Signals | None:
        """Which order any of the processes has had; they ask one another at some steps only."""
        if trainer.world_size == 1:
            return self.told
        if self.step % AGREE:
            return None
        mine = 0 if self.told is None else 1 + ORDERS.index(self.told)
        highest = trainer.strategy.reduce(torch.tensor(mine, device=trainer.strategy.root_device), reduce_op="max")
        return ORDERS[int(highest) - 1] if highest else None

    def check(self, trainer: Trainer, weights: list[Tensor]) -> None:
        finite = [tensor.isfinite().all() for tensor in (*self.losses, *weights)]
        losses, rest = torch.stack(finite).split([len(self.losses), len(weights)])
        # Twice the batch, and one more where weights alone are spoilt: the process whose loss was none comes before those
        # that it has spoilt through the mean of the gradients.
        mine = NEVER
        if not losses.all():
            mine = 2 * (self.batch + losses.tolist().index(False))
        elif not rest.all():
            mine = 2 * (self.batch + len(losses)) - 1
        seen = torch.tensor(mine, device=trainer.strategy.root_device)
        first = int(trainer.strategy.reduce(seen, reduce_op="min"))
        if first == NEVER:
            return
        batch = first // 2
        place = f" in a batch of {names(trainer, batch)}" if mine == first else " in another process"
        step = batch // trainer.accumulate_grad_batches + 1
        raise Diverged(f"loss or weights are not finite at step {step}{place}; {kept(self.state)}")


def names(trainer: Trainer, batch: int) -> str:
    """The recordings that a batch of this process was cut from."""
    data = getattr(trainer, "datamodule", None)
    assert isinstance(data, PretrainingData), "clips are known by their numbers"
    return ", ".join(dict.fromkeys(data.recordings_of(batch)))
