"""`oscine pretrain CONFIG`: a recipe, an encoder and a folder of recordings become a run."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
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
from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.utilities import rank_zero_only

from oscine.cli import TERMINATED, config
from oscine.cli.command import Misuse, Parser
from oscine.cli.progress import progress_bar
from oscine.models import Encoder, create_model
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.folder import SETTINGS
from oscine.models.origin import origin_of
from oscine.models.source import SOURCE, Origin
from oscine.models.weights import load_strictly
from oscine.models.zoo import HUB, LOCAL
from oscine.pretrain import BATPretraining, BirdMAEPretraining, Recipe
from oscine.pretrain.boundary import Stopped
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.health import Health
from oscine.pretrain.pictures import PICTURES, Pictures
from oscine.pretrain.run import LOGS, STATE, encoder_with_weights, make_trainer, run_pretraining
from oscine.pretrain.states import resumable
from oscine.probe.data import read_task
from oscine.probe.watch import Watch

# Its console repeats what it was told and advertises; what the user should know is said here.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")  # its own use of torch
warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch")  # clips go by number
warnings.filterwarnings("ignore", "The number of training batches .* is smaller than the logging interval")
warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # so it should when resuming
warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")  # save_every, health_every may change
warnings.filterwarnings("ignore", "Found .* in eval mode at the start of training")  # the teacher, as it should be

METHODS: dict[str, type[Recipe]] = {
    "BATPretraining": BATPretraining,
    "BirdMAEPretraining": BirdMAEPretraining,
}
PURPOSE = """Pretrain an encoder on a folder of recordings and leave it in RUNS/NAME/encoder.

Logs go to RUNS/NAME/logs (CSV, TensorBoard), pictures of clips and of what is predicted to RUNS/NAME/pictures, what is
needed to go on to RUNS/NAME/states. With --probe_table the encoder is judged, frozen, while it learns. A run that was
stopped or killed goes on with --resume; --overwrite deletes it and starts anew. --init starts a new run from the weights of
an encoder; its decoder, teacher and optimiser are new. Settings that are not those of the run or encoder are refused unless
--change names them."""
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
COME_AGAIN = 75  # exit code of a run that was told to stop (sysexits.h: try again); a job script then requeues itself
ORDERS = {"resume", "overwrite", "change"}  # what is asked for now, not what the run is
# What may differ when a run is resumed: where and how fast it goes, not what becomes of it.
FREE = {
    "runs", "save_every", "log_every", "health_every", "pictures_every", "probe_every", "probe_table", "data.workers",
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
    try:
        pretrain(method, settings, made.dump(settings, skip_unset=False))
    except Stopped as stopped:
        print(f"oscine pretrain: {stopped}", file=sys.stderr)
        return TERMINATED if stopped.by == signal.SIGTERM else COME_AGAIN
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
    made.add_argument("--save_every", type=PositiveInt, default=1000, help="steps from one run state to the next")
    made.add_argument("--log_every", type=PositiveInt, default=10, help="steps from one logged loss to the next")
    made.add_argument(
        "--health_every", type=NonNegativeInt, default=100, help="steps between looks at the encoder's health; 0: none"
    )
    made.add_argument(
        "--pictures_every",
        type=NonNegativeInt,
        default=500,
        help="steps from one picture of clips, what is seen of them and what is predicted to the next; 0: none",
    )
    made.add_argument(
        "--probe_every",
        type=NonNegativeInt,
        default=500,
        help="steps from one judgement of the encoder on --probe_table to the next; 0: none",
    )
    made.add_argument(
        "--probe_table",
        type=Path,
        help="labelled table, as `oscine probe` takes it, on which k-NN and logistic regression judge the frozen encoder",
    )
    decided: set[str | int] = {name for name in signature(Trainer).parameters if name not in MACHINE}
    made.add_class_arguments(Trainer, "trainer", skip=decided)
    made.add_argument("--resume", action="store_true", help="go on with the run of this name")
    made.add_argument("--overwrite", action="store_true", help="delete the run of this name and start anew")
    made.add_argument("--init", type=str, help="start from an encoder: a run's folder, local-dir:FOLDER or a zoo name")
    made.add_argument("--change", nargs="+", type=str, default=[], metavar="KEY", help="settings that may differ")
    return made


def pretrain(method: type[Recipe], settings: Namespace, dumped: str) -> None:
    """Run it; `dumped` are the settings as YAML, which stay with the run."""
    folder = settings.runs / settings.name
    record = {key: value for key, value in yaml.safe_load(dumped).items() if key not in ORDERS}
    # Every process of a run on several devices calls this; the first alone looks after the folder.
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    if first:
        check(folder, settings.resume, settings.overwrite)
        if settings.resume:
            saved = yaml.safe_load((folder / SETTINGS).read_bytes())
            check_same(folder / SETTINGS, saved, record, settings.change)
    check_encoder(settings.encoder)
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
            callbacks.append(Steps(bar.task(settings.name), settings.log_every))
        callbacks += looks(settings, folder)
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
            prepare(folder, record, settings.resume, origin_of(start) if start else None)
        saved_to = run_pretraining(trainer, recipe, data, folder, settings.resume)
    if first:
        pictures = f"pictures: {folder / PICTURES}; " if (folder / PICTURES).exists() else ""
        print(f"curves: {folder / LOGS} (CSV, TensorBoard); {pictures}encoder: create_model('local-dir:{saved_to}')")


def prepare(folder: Path, record: dict[str, Any], resume: bool, origin: Origin | None = None) -> None:
    """An empty folder for a new run, or that of one that goes on, with its settings and whose weights it begins with."""
    try:
        if not resume:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
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


def looks(settings: Namespace, folder: Path) -> list[Callback]:
    """What looks at the encoder now and then while it learns."""
    made: list[Callback] = []
    if settings.health_every:
        made.append(Health(settings.health_every))
    if settings.pictures_every:
        made.append(Pictures(folder, settings.pictures_every))
    if settings.probe_table and settings.probe_every:
        # As many clips at once as a step has: what fits with gradients fits without.
        task, clips = read_task(settings.probe_table), settings.data
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


def check(folder: Path, resume: bool, overwrite: bool) -> None:
    """Never lose a run: an existing one is resumed or overwritten only by name."""
    if resume and overwrite:
        raise Misuse("--resume goes on with a run and --overwrite deletes it; name one of them")
    if resume and not (folder / SETTINGS).exists():
        raise OscineError(f"nothing to resume: no {folder / SETTINGS}; leave out --resume to start this run")
    if folder.exists() and not resume and not overwrite:
        raise OscineError(f"{folder} exists; --resume goes on with it, --overwrite deletes it, --name X starts another")


def begin_with(encoder: Encoder, start: Encoder, source: str, change: list[str]) -> None:
    """Give a run's encoder the weights of another one of its kind."""
    if type(start) is not type(encoder):
        raise OscineError(
            f"{source} is a {type(start).__name__}, the run's encoder a {type(encoder).__name__}; use a recipe with that one"
        )
    check_same(source, {"encoder": start.config}, {"encoder": encoder.config}, change)
    load_strictly(encoder, start.state_dict(), source)


def check_same(source: object, saved: dict[str, Any], given: dict[str, Any], change: list[str]) -> None:
    """What goes on is what it began as: its settings against those that are given now. `change` names keys or sections."""
    was, now = dict(flat(saved)), dict(flat(given))
    differ = {key: f"{key} was {was.get(key)}, now {now.get(key)}" for key in sorted(was.keys() | now.keys())}
    refused = [
        key
        for key in differ
        if was.get(key) != now.get(key)
        and key not in FREE
        and not any(key == named or key.startswith(f"{named}.") for named in change)
    ]
    if refused:
        raise OscineError(
            f"{source} says otherwise: {'; '.join(differ[key] for key in refused)}; give what was, allow it with "
            f"--change {' '.join(refused)}, or start another run with --name X"
        )


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted keys, as they are given on the command line."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_encoder(encoder: dict[str, Any]) -> None:
    if str(encoder["name"]).startswith((HUB, LOCAL)) or {"pretrained", "checkpoint_path"} & encoder.keys():
        raise Misuse(
            f"--encoder {encoder} has weights of its own; --encoder.name is an architecture, --init starts from weights"
        )
    for key, value in encoder.items():
        if key != "name" and isinstance(value, str):
            raise Misuse(f"--encoder.{key} is {value!r}, expected a number")
