"""One pretraining run in one folder: logs, run states to resume from, and the encoder at its end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub import from_config, load_pretrained, save_pretrained
from oscine.models.weights import load_strictly
from oscine.models.zoo import LOCAL, create_model
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.machine import Machine
from oscine.pretrain.recipe import Recipe
from oscine.pretrain.states import RunStates, newest_state, read_state, resumable

LOGS, STATES, ENCODER = "logs", "states", "encoder"
STATE = Path(STATES, "last.ckpt")
AGREE = 10  # steps from one agreement of the processes to the next: soon, where a cluster leaves minutes


class Stopped(OscineError):
    """A run that was told to stop, has kept its state and wants to be resumed."""


def make_trainer(
    recipe: Recipe,
    folder: Path,
    save_every: int = 1000,
    log_every: int = 10,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> Trainer:
    """The Trainer of a recipe's run in `folder`, which it does not touch yet. `settings` are Lightning's own.

    Loss, its terms and the learning rate go to `folder`/logs every `log_every` steps, as CSV and for TensorBoard; everything
    that is needed to go on goes to `folder`/states every `save_every` steps; the last two states are kept.
    """
    csv = CSVLogger(folder, name=LOGS, flush_logs_every_n_steps=log_every)
    keep_last = ModelCheckpoint(
        folder / STATES, save_top_k=0, save_last=True, enable_version_counter=False,
        every_n_train_steps=save_every, save_on_train_epoch_end=True,
    )  # fmt: skip
    try:
        return Trainer(
            max_steps=recipe.steps,
            default_root_dir=folder,
            logger=[csv, TensorBoardLogger(folder, name=LOGS, version=csv.version)],
            callbacks=[
                StaysFinite(folder / STATE, log_every, save_every),
                StopsWhenTold(),
                keep_last,
                Machine(),
                *callbacks,
            ],
            plugins=[RunStates()],
            log_every_n_steps=log_every,
            # The clips' numbers say which rank reads what; a sampler on top would deal them out twice.
            use_distributed_sampler=False,
            **settings,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise OscineError(f"no such Trainer: {' '.join(str(error).split())}") from error


def run_pretraining(
    trainer: Trainer, recipe: Recipe, data: PretrainingData, folder: Path, resume: bool = False
) -> Path:
    """Train a recipe to its last step and return the folder of its encoder, `folder`/encoder."""
    state = folder / STATE
    if resume and not resumable(state):
        raise OscineError(f"nothing to resume: no {state}; leave out --resume to start this run")
    try:
        trainer.fit(recipe, datamodule=data, ckpt_path=state if resume else None)
        trainer.save_checkpoint(state)  # the last step, too, where `save_every` does not meet it
        if trainer.global_step < recipe.steps:
            raise Stopped(f"told to stop at step {trainer.global_step}; the state is kept in {state}; --resume goes on")
        if trainer.is_global_zero:  # from the state: it is whole also where every device holds a part of the weights
            save_pretrained(encoder_of_state(read_state(state), state), folder / ENCODER)
    except SystemExit as left:  # how Lightning ends the process after Ctrl-C or SIGTERM; that is for the caller to do
        raise KeyboardInterrupt from left
    except OSError as error:  # a full disk, or one that is gone
        reason = " ".join((error.strerror or str(error)).split())
        then = "--resume goes on" if resumable(state) else "--overwrite begins anew"
        raise OscineError(
            f"stopped at step {trainer.global_step}: {reason}; {kept(state)}; when {folder} can be written again, {then}"
        ) from error
    trainer.strategy.barrier()  # whoever returns finds the encoder written
    return folder / ENCODER


def kept(state: Path) -> str:
    """What a run that has to stop leaves behind."""
    return f"the state kept in {state} is from before" if resumable(state) else "no state was kept yet"


def encoder_with_weights(source: str) -> Encoder:
    """An encoder to start a run from: a run's folder, an encoder's (also local-dir:), or a name with published weights.

    Of a run that has not ended it is the one in its newest state.
    """
    folder = Path(source.removeprefix(LOCAL))
    if (folder / ENCODER).is_dir():
        return load_pretrained(folder / ENCODER)
    if resumable(folder / STATE):
        return encoder_of_state(*newest_state(folder / STATE))
    return load_pretrained(folder) if folder.is_dir() else create_model(source, pretrained=True)


def encoder_of_state(state: dict[str, Any], path: Path) -> Encoder:
    """The encoder in a run's state, which was read from `path`."""
    encoder = from_config(state["encoder"])
    weights = state["state_dict"].items()
    own = {name.removeprefix("encoder."): tensor for name, tensor in weights if name.startswith("encoder.")}
    load_strictly(encoder, own, path)
    return encoder


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


class StopsWhenTold(Callback):
    """Ends a run between two steps after SIGUSR1, which a cluster sends before it takes its machines back.

    The processes of a run are told at different moments, so they agree every few steps.
    """

    def __init__(self) -> None:
        self.told = False
        self.before: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may listen
            self.before = signal.signal(signal.SIGUSR1, self.hear)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.before is not None:
            signal.signal(signal.SIGUSR1, self.before)

    def hear(self, *_: Any) -> None:
        self.told = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step % AGREE == 0:
            trainer.should_stop |= trainer.strategy.reduce_boolean_decision(self.told, all=False)


def cut_from(trainer: Trainer, batch: int) -> str:
    """The recordings that a batch of this process was cut from, as a clause of a sentence."""
    data = getattr(trainer, "datamodule", None)  # a Trainer's own tests have none
    if not isinstance(data, PretrainingData):
        return ""
    return f" in a batch of {', '.join(dict.fromkeys(data.recordings_of(batch)))}"


def loss_curve(folder: Path) -> pd.DataFrame:
    """What a run has logged, one row a logged step, over all its resumptions; a step done twice counts as done last."""
    parts = sorted((folder / LOGS).glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    if not parts:
        raise OscineError(f"no {LOGS}/version_*/metrics.csv in {folder}; is it the folder of a pretraining run?")
    return pd.concat(map(pd.read_csv, parts)).groupby("step").last()
