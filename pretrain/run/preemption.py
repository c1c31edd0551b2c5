"""Decide after each step: check that all is finite, write run state and encoder, stop at a signal."""

from __future__ import annotations

import math
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
from oscine.pretrain.data.datamodule import data_of
from oscine.pretrain.run.checkpoint import describe_state, keep_encoder
from oscine.pretrain.run.files import STATE

SYNC_EVERY = 10  # steps from one agreement of a run's processes to the next: soon, where a cluster leaves minutes
# Before its time is up; when others need the machine; when the terminal is closed. Windows knows the second alone.
STOP_SIGNALS = tuple(signal.Signals[name] for name in ("SIGUSR1", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Exit codes: try again (EX_TEMPFAIL of sysexits.h), with which a job script requeues itself; and, with its number, of any
# other signal.
EX_TEMPFAIL, SIGNALLED = 75, 128


class Stopped(OscineError):
    """A run that was told to stop by a signal and has kept its state; how it goes on is for its command to say."""

    def __init__(self, message: str, by: signal.Signals | None) -> None:
        super().__init__(message)
        self.by = by

    @property
    def code(self) -> int:
        """Return the exit code of the process."""
        return EX_TEMPFAIL if self.by is None or self.by.name == "SIGUSR1" else SIGNALLED + self.by


class Diverged(OscineError):
    """A run whose loss or weights are no numbers any more."""


class DiskError(OscineError):
    """A run that could not write. resumable: whether a state from before was kept."""

    def __init__(self, message: str, resumable: bool) -> None:
        super().__init__(message)
        self.resumable = resumable


class PreemptionSafeCheckpoint(Checkpoint):
    """After each step: checks losses and weights, keeps the encoder, keeps the run's state, stops the run where it has to.

    In this order: nothing that is kept holds what is no number; a run that goes on from a state has kept the encoders of all
    steps before; and no run stops without its state.

    State: every `save_every` steps, at the last one, and when the run stops. Encoder: every `keep_every` steps, 0 for none.
    It is the Trainer's last callback, as all that keep states are: what others remember of the step is in it.

    Losses wait on their device until they are checked, every `log_every` steps and before something is kept, so that no step
    waits for them. The first that is no number says which batch it was, and the process that had it names its recordings.

    The processes of a run get their signals at different moments, so they agree every few steps. At a second signal to end,
    a process does so at once.
    """

    def __init__(self, run: Path, log_every: int, save_every: int, keep_every: int = 0) -> None:
        self.run, self.state = run, run / STATE
        self.log_every, self.save_every, self.keep_every = log_every, save_every, keep_every
        self.step = 0  # the last that was looked at
        self.batch = 0  # of the run, the first whose loss waits
        self.losses: list[Tensor] = []
        self.stop_signal: signal.Signals | None = None
        self.handled: Sequence[signal.Signals] = STOP_SIGNALS

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle signals to stop while the block runs, also before the first step; earlier handlers come back after it."""
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        # nohup ignores a closed terminal
        self.handled = [number for number in STOP_SIGNALS if before[number] != signal.SIG_IGN]
        self._set_handlers()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _set_handlers(self) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in self.handled:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        received = signal.Signals(number)
        if self.stop_signal == received and received.name != "SIGUSR1":
            raise KeyboardInterrupt
        self.stop_signal = received

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._set_handlers()  # the Trainer has put handlers of its own in between
        self.step = trainer.global_step
        self.batch, self.losses = self.step * trainer.accumulate_grad_batches, []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(outputs["loss"].detach())
        step = trainer.global_step
        if step == self.step:  # a part of a step, which a resumed run would begin anew
            return
        self.step = step
        stop = self.sync_stop(trainer)
        save = stop is not None or step == trainer.max_steps or step % self.save_every == 0
        keep = self.keep_every > 0 and step % self.keep_every == 0
        if save or keep or step % self.log_every == 0:
            self.check(trainer, list(pl_module.parameters()))
            self.batch, self.losses = self.batch + len(self.losses), []
        if keep:
            keep_encoder(trainer, self.run)
        if save:
            trainer.save_checkpoint(self.state)
        if stop is not None and step < trainer.max_steps:
            self.stop_signal = stop
            trainer.should_stop = True

    def sync_stop(self, trainer: Trainer) -> signal.Signals | None:
        """Return the signal to stop that any of the run's processes has had; they agree every `SYNC_EVERY` steps."""
        if trainer.world_size == 1:
            return self.stop_signal
        if self.step % SYNC_EVERY:
            return None
        own = 0 if self.stop_signal is None else 1 + STOP_SIGNALS.index(self.stop_signal)
        highest = trainer.strategy.reduce(torch.tensor(own, device=trainer.strategy.root_device), reduce_op="max")
        return STOP_SIGNALS[int(highest) - 1] if highest else None

    def check(self, trainer: Trainer, weights: list[Tensor]) -> None:
        """Raise where a loss since the last check, or a weight now, is not finite, with the recordings that did it."""
        finite = [tensor.isfinite().all() for tensor in (*self.losses, *weights)]
        losses, rest = torch.stack(finite).split([len(self.losses), len(weights)])
        # The earliest failure of all processes wins, counted in batches since the last check. A weight alone counts half a
        # batch after the last loss: the process with a bad loss has spoilt it through the mean of the gradients.
        own = math.inf
        if not losses.all():
            own = float(losses.tolist().index(False))
        elif not rest.all():
            own = len(losses) - 0.5
        first = float(trainer.strategy.reduce(torch.tensor(own, device=trainer.strategy.root_device), reduce_op="min"))
        if first == math.inf:
            return
        batch = self.batch + int(first)
        place = f" in a batch of {names(trainer, batch)}" if own == first else " in another process"
        step = batch // trainer.accumulate_grad_batches + 1
        raise Diverged(f"loss or weights are not finite at step {step}{place}; {describe_state(self.state)}")


def names(trainer: Trainer, batch: int) -> str:
    """Name the recordings that a batch of this process was cut from."""
    return ", ".join(dict.fromkeys(data_of(trainer).recordings_of(batch)))
