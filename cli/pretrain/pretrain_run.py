"""The work of `oscine pretrain`, once its arguments are known to fit: build, train, leave the encoder, print."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from oscine.cli.console.progress import progress_bar
from oscine.cli.pretrain.pretrain import check, check_same
from oscine.models import Encoder, create_model
from oscine.models.encoders.base.provenance import SOURCE, Origin
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.hub.encoder_files import SETTINGS
from oscine.models.hub.origin import origin_of
from oscine.models.hub.weights import load_strictly
from oscine.models.locks import lock_output
from oscine.models.replaced import Replaced
from oscine.pretrain import Recipe
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.distributed import is_first
from oscine.pretrain.run.checkpoint import DiskError as DiskError
from oscine.pretrain.run.checkpoint import Diverged as Diverged
from oscine.pretrain.run.checkpoint import Stopped as Stopped
from oscine.pretrain.run.files import LOGS, PICTURES, STATE, replaced_run, resumable, stands
from oscine.pretrain.run.health import Health
from oscine.pretrain.run.pictures import Pictures
from oscine.pretrain.run.run import encoder_with_weights, make_trainer, run_pretraining
from oscine.probe.fit.online import Watch
from oscine.probe.tasks.splits import LabelledTable
from oscine.probe.tasks.task import as_task

# Its console repeats what it was told and advertises; what the user should know is said here.
logger = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")  # its own use of torch
warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch")  # clips go by number
warnings.filterwarnings("ignore", "The number of training batches .* is smaller than the logging interval")
warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # so it should when resuming
warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")  # save_every, health_every may change
warnings.filterwarnings("ignore", "Found .* in eval mode at the start of training")  # the teacher, as it should be


def pretrain(
    method: type[Recipe], settings: Namespace, record: dict[str, Any], probe_table: LabelledTable | None
) -> None:
    """Run it; `record` are the settings that stay with the run."""
    folder, first = settings.runs / settings.name, is_first()
    replaced = replaced_run(folder)
    # A run that goes on from a state has weights of its own.
    goes_on = settings.resume and resumable(folder / STATE)
    start = encoder_with_weights(settings.init) if settings.init and not goes_on else None
    lightning.seed_everything(settings.seed, verbose=False)
    encoder = create_model(**settings.encoder)
    if start:
        begin_with(encoder, start, settings.init, settings.change)
    recipe = method(encoder, **settings.recipe.as_dict())
    data = PretrainingData(**settings.data.as_dict(), seed=settings.seed)
    data.changes = settings.change
    recipe.draw_keep(torch.Generator())  # masks that cannot be drawn are refused before a run is touched
    callbacks: list[Callback] = [LearningRateMonitor("step")]
    with ExitStack() as display:
        if first:
            bar = display.enter_context(progress_bar())
            callbacks += [Steps(bar.task(settings.name), settings.log_every), Settle(replaced)]
        callbacks += looks(settings, folder, probe_table)
        trainer = make_trainer(
            recipe,
            folder,
            settings.save_every,
            settings.log_every,
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings.trainer.as_dict(),
        )
        if first:  # not before everything else is known to fit
            display.enter_context(lock_output(folder, "choose another --name"))
            check(folder, settings.resume, settings.overwrite)  # again: another command may have written it meanwhile
            display.enter_context(replacing(replaced, settings.overwrite))
            prepare(folder, record, origin_of(start) if start else None)
        saved_to = run_pretraining(trainer, recipe, data, folder, settings.resume)
    if first:
        pictures = f"pictures: {folder / PICTURES}; " if (folder / PICTURES).exists() else ""
        print(f"curves: {folder / LOGS} (CSV, TensorBoard); {pictures}encoder: create_model('local-dir:{saved_to}')")


@contextmanager
def replacing(replaced: Replaced, overwrite: bool) -> Iterator[None]:
    """Move the run to overwrite aside for the block, and put it back if no state of the new one is kept in it."""
    try:
        if overwrite:
            replaced.take()
        yield
    finally:
        replaced.settle(stands(replaced.folder))


class Settle(Callback):
    """Deletes the run that was replaced once the new one stands."""

    def __init__(self, replaced: Replaced) -> None:
        self.replaced, self.settled = replaced, False

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if not self.settled and stands(self.replaced.folder):
            self.replaced.discard()
            self.settled = True


def prepare(folder: Path, record: dict[str, Any], origin: Origin | None = None) -> None:
    """The folder of a run, with its settings and whose weights it begins with."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_settings(folder, record)
        if origin:
            write_whole(folder / SOURCE, origin.as_json())
    except OSError as error:
        raise OscineError(
            f"{folder} cannot be written: {error.strerror or error}; make room, or name other --runs"
        ) from error


def write_settings(folder: Path, record: dict[str, Any]) -> None:
    """Leave a run's settings in its folder."""
    write_whole(folder / SETTINGS, yaml.safe_dump(record, sort_keys=False).encode())


def looks(settings: Namespace, folder: Path, probe_table: LabelledTable | None) -> list[Callback]:
    """What looks at the encoder now and then while it learns."""
    made: list[Callback] = []
    if settings.health_every:
        made.append(Health(settings.health_every))
    if settings.pictures_every:
        made.append(Pictures(folder, settings.pictures_every))
    if probe_table and settings.probe_every:
        # As many clips at once as a step has: what fits with gradients fits without.
        task, clips = as_task(probe_table), settings.data
        made.append(Watch(task, settings.probe_every, clips.batch_size, clips.workers))
    return made


class Steps(Callback):
    """Shows the optimiser steps of a run, and its loss as it is logged, on a line of the progress display."""

    def __init__(self, update: Callable[..., None], every: int) -> None:
        self.update, self.every = update, every
        self.note = ""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step % self.every == 0:  # reading the loss waits for the device
            self.note = f"loss {trainer.callback_metrics['loss']:.4f}"
        self.update(trainer.global_step, trainer.max_steps, self.note)


def begin_with(encoder: Encoder, start: Encoder, source: str, change: list[str]) -> None:
    """Give a run's encoder the weights of another one of its kind."""
    if type(start) is not type(encoder):
        raise OscineError(
            f"{source} is a {type(start).__name__}, the run's encoder a {type(encoder).__name__}; use a recipe with that one"
        )
    check_same(source, {"encoder": start.config}, {"encoder": encoder.config}, change)
    load_strictly(encoder, start.state_dict(), source)
