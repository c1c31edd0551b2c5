"""One pretraining run in one folder: logs, run states to resume from, and the encoder at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub import from_config, load_pretrained
from oscine.models.origin import Source, read_source, source_of
from oscine.models.weights import load_strictly
from oscine.models.zoo import LOCAL, create_model
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.finite import StaysFinite
from oscine.pretrain.machine import Machine
from oscine.pretrain.recipe import Recipe
from oscine.pretrain.record import save_with_record
from oscine.pretrain.states import RunStates, kept, newest_state, read_state, resumable
from oscine.pretrain.stop import Stopped, StopsWhenTold

LOGS, STATES, ENCODER = "logs", "states", "encoder"
STATE = Path(STATES, "last.ckpt")


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
            encoder = encoder_of_state(read_state(state), state)
            save_with_record(encoder, folder, folder / ENCODER, trainer.global_step)
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


def source_of_start(start: Encoder, named: str) -> Source | None:
    """Whose weights a run begins with; of another run that has not ended, what that one began with."""
    return source_of(start) or read_source(Path(named.removeprefix(LOCAL)))


def encoder_of_state(state: dict[str, Any], path: Path) -> Encoder:
    """The encoder in a run's state, which was read from `path`."""
    encoder = from_config(state["encoder"])
    weights = state["state_dict"].items()
    own = {name.removeprefix("encoder."): tensor for name, tensor in weights if name.startswith("encoder.")}
    load_strictly(encoder, own, path)
    return encoder


def loss_curve(folder: Path) -> pd.DataFrame:
    """What a run has logged, one row a logged step, over all its resumptions; a step done twice counts as done last."""
    parts = sorted((folder / LOGS).glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    if not parts:
        raise OscineError(f"no {LOGS}/version_*/metrics.csv in {folder}; is it the folder of a pretraining run?")
    return pd.concat(map(pd.read_csv, parts)).groupby("step").last()
