"""One pretraining run in one folder: logs, run states to resume from, and the encoder at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from oscine.models.errors import OscineError
from oscine.models.hub import save_pretrained
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.recipe import Recipe

LOGS, STATES, ENCODER = "logs", "states", "encoder"


def run_pretraining(
    recipe: Recipe,
    data: PretrainingData,
    folder: Path,
    resume: bool = False,
    save_every: int = 1000,
    log_every: int = 10,
    callbacks: Sequence[Callback] = (),
    **trainer: Any,
) -> Path:
    """Train a recipe to its last step and return the folder of its encoder, `folder`/encoder.

    Loss, its terms and the learning rate go to `folder`/logs every `log_every` steps, as CSV and for TensorBoard; everything
    that is needed to go on goes to `folder`/states every `save_every` steps. `trainer` are settings of Lightning's Trainer.
    """
    states = folder / STATES
    state = states / "last.ckpt"
    if resume and not state.exists():
        raise OscineError(f"nothing to resume: no {state}; leave out --resume to start this run")
    csv = CSVLogger(folder, name=LOGS, flush_logs_every_n_steps=log_every)
    keep_last = ModelCheckpoint(states, save_last=True, every_n_train_steps=save_every, save_on_train_epoch_end=True)
    Trainer(
        max_steps=recipe.steps,
        default_root_dir=folder,
        logger=[csv, TensorBoardLogger(folder, name=LOGS, version=csv.version)],
        callbacks=[keep_last, *callbacks],
        log_every_n_steps=log_every,
        # The clips' numbers say which rank reads what; a sampler on top would deal them out twice.
        use_distributed_sampler=False,
        **trainer,
    ).fit(recipe, datamodule=data, ckpt_path=state if resume else None)
    return save_pretrained(recipe.encoder, folder / ENCODER)


def loss_curve(folder: Path) -> pd.DataFrame:
    """What a run has logged, one row a logged step, over all its resumptions; a step done twice counts as done last."""
    parts = sorted((folder / LOGS).glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    if not parts:
        raise OscineError(f"no {LOGS}/version_*/metrics.csv in {folder}; is it the folder of a pretraining run?")
    return pd.concat(map(pd.read_csv, parts)).groupby("step").last()
