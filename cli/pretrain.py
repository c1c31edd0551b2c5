"""`oscine pretrain CONFIG`: a recipe, an encoder and a folder of recordings become a run."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.utilities import rank_zero_only

from oscine.cli import config
from oscine.cli.command import Misuse, Parser
from oscine.cli.progress import progress_bar
from oscine.models import create_model
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.recordings import find_recordings
from oscine.pretrain import BATPretraining, BirdMAEPretraining, Recipe
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.run import make_trainer, run_pretraining

# Its console repeats what it was told and advertises; what the user should know is said here.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")  # its own use of torch
warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch")  # clips go by number
warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # so it should when resuming

METHODS: dict[str, type[Recipe]] = {
    "BATPretraining": BATPretraining,
    "BirdMAEPretraining": BirdMAEPretraining,
}
PURPOSE = """Pretrain an encoder on a folder of recordings and leave it in RUNS/NAME/encoder.

Logs go to RUNS/NAME/logs (CSV, TensorBoard), what is needed to go on to RUNS/NAME/states. A run that was stopped or killed
goes on with --resume; --overwrite deletes it and starts anew."""
# Settings of Lightning's Trainer that are the user's; the others are decided by the run.
MACHINE = {
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
}
SETTINGS = "settings.yaml"
# What may differ when a run is resumed: where and how fast it goes, not what becomes of it.
FREE = {
    "runs", "save_every", "log_every", "data.workers",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
}  # fmt: skip


def main(arguments: list[str]) -> int | None:
    if not arguments or arguments[0].startswith("-"):
        print(config.usage("pretrain", "pretrain", PURPOSE))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = config.find("pretrain", arguments[0])
    name = config.read(path).get("method")
    if name not in METHODS:
        raise Misuse(f"{path} has method {name!r}; expected one of {', '.join(METHODS)}")
    method = METHODS[name]
    made = parser(method)
    settings = config.parse(made, path, arguments[1:])
    pretrain(method, settings, made.dump(settings, skip_unset=False))
    return None


def parser(method: type[Recipe]) -> Parser:
    made = config.parser("pretrain", PURPOSE)
    made.add_argument("--name", type=str, required=True, help="of the run")
    made.add_argument("--runs", type=Path, default=Path("runs"), help="folder that holds the runs")
    made.add_argument("--method", choices=[method.__name__], help="the recipe's class")
    made.add_argument("--seed", type=int, default=0, help="of the weights, the order of the clips, cuts and masks")
    made.add_argument(
        "--encoder",
        type=dict[str, int | float | str],
        required=True,
        help="name and settings for create_model, such as --encoder.seconds 5",
    )
    made.add_class_arguments(method, "recipe", skip={"encoder"})
    made.add_class_arguments(PretrainingData, "data", skip={"seed"})
    made.add_argument("--save_every", type=int, default=1000, help="steps from one run state to the next")
    made.add_argument("--log_every", type=int, default=10, help="steps from one logged loss to the next")
    decided: set[str | int] = {name for name in signature(Trainer).parameters if name not in MACHINE}
    made.add_class_arguments(Trainer, "trainer", skip=decided)
    made.add_argument("--resume", action="store_true", help="go on with the run of this name")
    made.add_argument("--overwrite", action="store_true", help="delete the run of this name and start anew")
    return made


def pretrain(method: type[Recipe], settings: Namespace, dumped: str) -> None:
    """Run it; `dumped` are the settings as YAML, which stay with the run."""
    folder = settings.runs / settings.name
    record = {key: value for key, value in yaml.safe_load(dumped).items() if key not in {"resume", "overwrite"}}
    # Every process of a run on several devices calls this; the first alone looks after the folder.
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    if first:
        check(folder, settings.resume, settings.overwrite)
        if settings.resume and (folder / SETTINGS).exists():
            check_same(folder / SETTINGS, record)
    check_encoder(settings.encoder)
    lightning.seed_everything(settings.seed, verbose=False)
    recipe = method(create_model(**settings.encoder), **settings.recipe.as_dict())
    if isinstance(settings.data.recordings, Path):
        settings.data.recordings = find_recordings(settings.data.recordings)
    data = PretrainingData(**settings.data.as_dict(), seed=settings.seed)
    recipe.draw_keep(torch.Generator())  # masks that cannot be drawn are refused before a run is touched
    callbacks: list[Callback] = [LearningRateMonitor("step")]
    with ExitStack() as display:
        if first:
            bar = display.enter_context(progress_bar())
            callbacks.append(Steps(bar.task(settings.name), settings.log_every))
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
        if first and not settings.resume:
            if folder.exists():  # not before everything else is known to fit
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            write_whole(folder / SETTINGS, yaml.safe_dump(record, sort_keys=False).encode())
        encoder = run_pretraining(trainer, recipe, data, folder, settings.resume)
    if first:
        print(f"{encoder}: create_model('local-dir:{encoder}') loads it")


class Steps(Callback):
    """Shows the optimiser steps of a run, and its loss as it is logged, on a line of the progress display."""

    def __init__(self, update: Callable[..., None], every: int) -> None:
        self.update, self.every = update, every
        self.note = ""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step % self.every == 0:  # reading the loss waits for the device
            self.note = f"loss {trainer.callback_metrics['loss']:.4f}"
        self.update(trainer.global_step, trainer.max_steps, self.note)


def check(folder: Path, resume: bool, overwrite: bool) -> None:
    """Never lose a run: an existing one is resumed or overwritten only by name."""
    if resume and overwrite:
        raise Misuse("--resume goes on with a run and --overwrite deletes it; name one of them")
    if folder.exists() and not resume and not overwrite:
        raise OscineError(f"{folder} exists; --resume goes on with it, --overwrite deletes it, --name X starts another")


def check_same(path: Path, record: dict[str, Any]) -> None:
    """A run goes on as what it began as: the settings it began with, against those it is resumed with."""
    saved, given = dict(flat(yaml.safe_load(path.read_bytes()))), dict(flat(record))
    differ = [
        f"{key} was {saved.get(key)}, now {given.get(key)}"
        for key in sorted((saved.keys() | given.keys()) - FREE)
        if saved.get(key) != given.get(key)
    ]
    if differ:
        raise OscineError(
            f"{path} says otherwise: {'; '.join(differ)}; resume with what was, or start another run with --name X"
        )


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted keys, as they are given on the command line."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_encoder(encoder: dict[str, Any]) -> None:
    for key, value in encoder.items():
        if key != "name" and isinstance(value, str):
            raise Misuse(f"--encoder.{key} is {value!r}, expected a number")
