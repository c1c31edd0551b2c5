"""One pretraining run in one folder: logs, run states to resume from, and the encoder at its end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import read_origin
from oscine.models.errors import OscineError
from oscine.models.hub.folder import from_config, load_pretrained, with_state
from oscine.models.json_text import one_line
from oscine.models.zoo import LOCAL, create_model
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.distributed import made_for_all
from oscine.pretrain.recipe import Recipe
from oscine.pretrain.run.checkpoint import DiskError, StepBoundary, Stopped
from oscine.pretrain.run.files import ENCODER, LOGS, STATE, parts_of_logs, resumable
from oscine.pretrain.run.hardware import Machine
from oscine.pretrain.run.record import save_with_record, step_of
from oscine.pretrain.run.states import RunStates, kept, newest_state


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
    boundary = StepBoundary(folder / STATE, log_every, save_every)
    try:
        return Trainer(
            max_steps=recipe.steps,
            default_root_dir=folder,
            logger=[csv, TensorBoardLogger(folder, name=LOGS, version=csv.version)],
            callbacks=[Machine(), *callbacks, boundary],
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
    """Train a recipe to its last step and return the folder of its encoder, `folder`/encoder.

    resume: go on from the newest state, if any was kept: a run may have been stopped before its first.
    """
    state = folder / STATE
    boundary = cast(StepBoundary, trainer.checkpoint_callback)
    try:
        with boundary.listening():
            trainer.fit(recipe, datamodule=data, ckpt_path=state if resume and resumable(state) else None)
        step = trainer.global_step
        if step < recipe.steps:
            raise Stopped(f"told to stop at step {step}; the state is kept in {state}", boundary.told)
        made_for_all(trainer, partial(save_encoder, state, folder, step))
    except SystemExit as left:  # how Lightning ends the process after Ctrl-C or SIGTERM; that is for the caller to do
        raise KeyboardInterrupt from left
    except OSError as error:  # a full disk, or one that is gone
        reason = " ".join((error.strerror or str(error)).split())
        raise DiskError(
            f"stopped at step {trainer.global_step}: {reason}; {kept(state)}; when {folder} can be written again",
            resumable(state),
        ) from error
    return folder / ENCODER


def save_encoder(state: Path, run: Path, step: int) -> None:
    """From the run's state, which is whole also where every device holds a part of the weights."""
    save_with_record(encoder_of_state(*newest_state(state)), run, run / ENCODER, step)


def encoder_with_weights(source: str) -> Encoder:
    """An encoder to start a run from: a run's folder, an encoder's (also local-dir:), or a name with published weights.

    Of a run that has not ended it is the one in its newest state.
    """
    folder = Path(source.removeprefix(LOCAL))
    if resumable(folder / STATE):
        state, path = newest_state(folder / STATE)
        if state["global_step"] > step_of(folder / ENCODER):  # it has gone on since
            encoder = encoder_of_state(state, path)
            encoder.origin = read_origin(folder)
            return encoder
    if (folder / ENCODER).is_dir():
        return load_pretrained(folder / ENCODER)
    return load_pretrained(folder) if folder.is_dir() else create_model(source, pretrained=True)


def encoder_of_state(state: dict[str, Any], path: Path) -> Encoder:
    """The encoder in a run's state, which was read from `path`."""
    weights = state.get("state_dict")
    named = weights.items() if isinstance(weights, dict) else ()
    own = {str(name).removeprefix("encoder."): it for name, it in named if str(name).startswith("encoder.")}
    if not own or not all(isinstance(tensor, Tensor) for tensor in own.values()):
        raise OscineError(f"{path} holds no encoder, as the state of a pretraining run does; --overwrite begins anew")
    try:
        return with_state(partial(from_config, state.get("encoder")), lambda: own, path)
    except OscineError as error:
        raise OscineError(f"{path}: {str(error).removeprefix(f'{path} ')}") from None


def loss_curve(folder: Path) -> pd.DataFrame:
    """What a run has logged, one row a logged step, over all its resumptions; a step done twice counts as done last."""
    parts = parts_of_logs(folder / LOGS, "metrics.csv")
    if not parts:
        raise OscineError(f"no {LOGS}/version_*/metrics.csv in {folder}; is it the folder of a pretraining run?")
    try:
        return pd.concat(map(pd.read_csv, parts)).groupby("step").last()
    except (ValueError, LookupError, TypeError) as error:
        raise OscineError(f"{folder / LOGS} holds curves that are not what a run writes ({one_line(error)})") from None
