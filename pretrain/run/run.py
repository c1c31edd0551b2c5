"""Run one pretraining in one folder: what `oscine pretrain` does, in its order, from settings to an encoder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import SOURCE, Origin
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.hub.encoder_files import SETTINGS
from oscine.models.hub.origin import origin_of
from oscine.models.hub.weights import load_strictly
from oscine.models.locks import lock_output
from oscine.models.progress import Bar
from oscine.models.replace_outputs import Replaced
from oscine.models.text.yaml_text import as_yaml
from oscine.models.zoo import create_model
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.distributed import is_first, rank_zero_then_broadcast
from oscine.pretrain.methods import METHODS
from oscine.pretrain.recipe import Recipe
from oscine.pretrain.run.callbacks import DiscardReplaced, ProgressCallback
from oscine.pretrain.run.checkpoint import RunStates, describe_state, encoder_with_weights, save_encoder
from oscine.pretrain.run.curves import Curves
from oscine.pretrain.run.files import ENCODER, LOGS, STATE, has_state_or_encoder, replaced_run, resumable
from oscine.pretrain.run.health import Health
from oscine.pretrain.run.metrics import MetricsLogger
from oscine.pretrain.run.pictures import Pictures
from oscine.pretrain.run.preemption import DiskError, PreemptionSafeCheckpoint, Stopped
from oscine.pretrain.run.record import HardwareInfo
from oscine.pretrain.run.settings import PretrainingRunSettings, check_free, check_run, check_same

# Lightning's own use of torch, and what it cannot know of these runs.
UNSAID = (
    "`isinstance.treespec, LeafSpec.` is deprecated",
    "You're resuming from a checkpoint that ended before the epoch",  # clips go by number
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # so it should when resuming
    "Be aware that when using `ckpt_path`",  # save_every, health_every may change
    "Found .* in eval mode at the start of training",  # the teacher, as it should be
)


def run_pretraining(
    settings: PretrainingRunSettings, *, progress: Bar | None = None, callbacks: Sequence[Callback] = ()
) -> Path:
    """Train a recipe on recordings, and return the folder of its encoder, RUNS/NAME/encoder.

    progress: a display, such as that of the commands; None shows nothing. callbacks: of Lightning's, such as one that
    probes the encoder while it learns.
    Raises OscineError where settings do not fit one another or the files, before a run is touched; Stopped where the
    process was told to stop, Diverged where a loss is no number, DiskError where a state could not be written: of all three
    what was kept goes on with `resume`.
    """
    check_run(settings)
    return run_checked(settings, progress=progress, callbacks=callbacks)


def run_checked(
    settings: PretrainingRunSettings, *, progress: Bar | None = None, callbacks: Sequence[Callback] = ()
) -> Path:
    """Train a recipe with settings that were checked, by `check_run` or by who made them."""
    folder, first = settings.folder, is_first()
    replaced = replaced_run(folder)
    # A run that goes on from a state has weights of its own.
    goes_on = settings.resume and resumable(folder / STATE)
    start = encoder_with_weights(settings.init) if settings.init and not goes_on else None
    lightning.seed_everything(settings.seed, verbose=False)
    encoder = create_model(**cast(dict[str, Any], settings.encoder))
    if start:
        copy_weights(encoder, start, str(settings.init), settings.change)
    recipe = METHODS[settings.method](encoder, **settings.whole_recipe())
    data = PretrainingData(**vars(settings.data), seed=settings.seed)
    data.allowed_changes = settings.change
    recipe.draw_keep(torch.Generator())  # masks that cannot be drawn are refused before a run is touched
    own: list[Callback] = [LearningRateMonitor("step"), *diagnostics(settings)]
    with ExitStack() as held:
        held.enter_context(quiet_lightning())
        if first:
            own.append(DiscardReplaced(replaced))
            if progress:
                own.append(ProgressCallback(progress.task(settings.name), settings.log_every))
        trainer = make_trainer(
            recipe,
            folder,
            settings.save_every,
            settings.log_every,
            callbacks=[*own, *callbacks],
            keep_every=settings.keep_every,
            enable_progress_bar=False,
            enable_model_summary=False,
            **asdict(settings.trainer),
        )
        if first:  # not before everything else is known to fit
            held.enter_context(lock_output(folder, "choose another --name"))
            check_free(settings)  # again: another command may have written it meanwhile
            held.enter_context(replacing(replaced, settings.overwrite))
            prepare_run(folder, settings.as_dict(), origin_of(start) if start else None)
        return fit_recipe(trainer, recipe, data, folder, settings.resume)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning, for the block, from repeating what it was told, advertising, and warning of what is meant so."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for text in UNSAID:
                warnings.filterwarnings("ignore", text)
            yield
    finally:
        logger.setLevel(level)


def make_trainer(
    recipe: Recipe,
    folder: str | Path,
    save_every: int = 1000,
    log_every: int = 10,
    callbacks: Sequence[Callback] = (),
    keep_every: int = 0,
    **settings: Any,
) -> Trainer:
    """Make the Trainer of a recipe's run in `folder`, which it does not touch yet. `settings` are Lightning's own.

    Loss, its terms and the learning rate go to `folder`/logs every `log_every` steps, as CSV and for TensorBoard; everything
    that is needed to go on goes to `folder`/states every `save_every` steps; the last two states are kept. The encoder stays
    in `folder`/encoders every `keep_every` steps; 0: nowhere.
    """
    folder = Path(folder)
    csv = MetricsLogger(folder, name=LOGS, flush_logs_every_n_steps=1)
    checkpoint = PreemptionSafeCheckpoint(folder, log_every, save_every, keep_every)
    try:
        return Trainer(
            max_steps=recipe.steps,
            default_root_dir=folder,
            logger=[csv, TensorBoardLogger(folder, name=LOGS, version=csv.version)],
            callbacks=[HardwareInfo(), *callbacks, checkpoint],
            plugins=[RunStates()],
            log_every_n_steps=log_every,
            # The clips' numbers say which rank reads what; a sampler on top would deal them out twice.
            use_distributed_sampler=False,
            **settings,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise OscineError(f"no such Trainer: {' '.join(str(error).split())}") from error


def fit_recipe(
    trainer: Trainer, recipe: Recipe, data: PretrainingData, folder: str | Path, resume: bool = False
) -> Path:
    """Train a recipe to its last step and return the folder of its encoder, `folder`/encoder.

    resume: go on from the newest state, if any was kept: a run may have been stopped before its first.
    """
    folder = Path(folder)
    state = folder / STATE
    checkpoint = cast(PreemptionSafeCheckpoint, trainer.checkpoint_callback)
    try:
        with checkpoint.handling_signals():
            trainer.fit(recipe, datamodule=data, ckpt_path=state if resume and resumable(state) else None)
        step = trainer.global_step
        if step < recipe.steps:
            raise Stopped(f"told to stop at step {step}; the state is kept in {state}", checkpoint.stop_signal)
        rank_zero_then_broadcast(trainer, partial(save_encoder, folder, step))
    except SystemExit as left:  # how Lightning ends the process after Ctrl-C or SIGTERM; that is for the caller to do
        raise KeyboardInterrupt from left
    except OSError as error:  # a full disk, or one that is gone
        reason = " ".join((error.strerror or str(error)).split())
        raise DiskError(
            f"stopped at step {trainer.global_step}: {reason}; {describe_state(state)}; when {folder} can be written again",
            resumable(state),
        ) from error
    return folder / ENCODER


@contextmanager
def replacing(replaced: Replaced, overwrite: bool) -> Iterator[None]:
    """Move the run to overwrite aside for the block, and put it back if no state of the new one is kept in it."""
    try:
        if overwrite:
            replaced.take()
        yield
    finally:
        replaced.settle(has_state_or_encoder(replaced.folder))


def prepare_run(folder: Path, record: dict[str, Any], origin: Origin | None = None) -> None:
    """Make the folder of a run, with its settings and whose weights it begins with."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / SETTINGS, as_yaml(record).encode())
        if origin:
            write_whole(folder / SOURCE, origin.as_json())
    except OSError as error:
        raise OscineError(
            f"{folder} cannot be written: {error.strerror or error}; make room, or name other --runs"
        ) from error


def diagnostics(settings: PretrainingRunSettings) -> list[Callback]:
    """Make the callbacks that measure and draw the encoder now and then while it learns."""
    made: list[Callback] = []
    if settings.health_every:
        made.append(Health(settings.health_every))
    if settings.pictures_every:
        made += [Pictures(settings.folder, settings.pictures_every), Curves(settings.folder, settings.pictures_every)]
    return made


def copy_weights(encoder: Encoder, start: Encoder, source: str, change: list[str]) -> None:
    """Give a run's encoder the weights of another one of its kind."""
    if type(start) is not type(encoder):
        raise OscineError(
            f"{source} is a {type(start).__name__}, the run's encoder a {type(encoder).__name__}; use a recipe with that one"
        )
    check_same(source, {"encoder": start.config}, {"encoder": encoder.config}, change)
    load_strictly(encoder, start.state_dict(), source)
