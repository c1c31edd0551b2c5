"""`oscine pretrain CONFIG`: a recipe, an encoder and a folder of recordings become a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from oscine.cli.console import config
from oscine.cli.console.command import Parser, complain, say_loading
from oscine.models.audio.channels import MIX
from oscine.models.audio.scan import LISTS, SUFFIXES, find_recordings
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import check_name
from oscine.models.hub.encoder_files import SETTINGS, check_folder, check_settings, encoder_folder
from oscine.models.lazy import lazily
from oscine.models.zoo import ARCHITECTURES, HUB, LOCAL, check_model
from oscine.pretrain.distributed import is_first
from oscine.pretrain.methods import METHODS
from oscine.pretrain.run.files import STATE, check_replaceable, replaced_run, resumable, stands
from oscine.pretrain.settings import RECIPES, DataSettings, TrainerSettings

if TYPE_CHECKING:
    from oscine.cli.pretrain.pretrain_run import Steps as Steps
    from oscine.cli.pretrain.pretrain_run import write_settings as write_settings
    from oscine.probe.tasks.splits import LabelledTable
else:
    __getattr__, __dir__ = lazily("oscine.cli.pretrain", {"Steps": "pretrain_run", "write_settings": "pretrain_run"})

PURPOSE = """Pretrain an encoder on a folder of recordings and leave it in RUNS/NAME/encoder.

Logs go to RUNS/NAME/logs (CSV, TensorBoard), pictures of clips and of what is predicted to RUNS/NAME/pictures, what is
needed to go on to RUNS/NAME/states. With --probe_table the encoder is judged, frozen, while it learns. A run that was
stopped or killed goes on with --resume; --overwrite starts anew and deletes the run of this name once the new one has kept a
state. --init starts a new run from the weights of an encoder; its decoder, teacher and optimiser are new. Settings that are
not those of the run or encoder are refused unless --change names them."""
WARMUP, STEPS = "recipe.warmup", "recipe.steps"
PACKED = (".tar", ".gz", ".parquet", ".csv", ".json")  # which a folder of shards, BirdSet's or AudioSet's holds
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
    if not isinstance(name, str) or name not in METHODS:
        raise Misuse(f"{path} has method {name!r}; expected one of {', '.join(METHODS)}")
    made = parser(name)
    settings = config.parse(made, path, config.added("pretrain", arguments[1:]))
    record = record_of(made, settings)
    table = refuse(name, settings, record)
    if is_first():
        say_loading("pretrain", settings.encoder["name"])
    from oscine.cli.pretrain.pretrain_run import DiskError, Diverged, Stopped, pretrain

    try:
        pretrain(METHODS[name], settings, record, table)
    except Stopped as stopped:
        complain(f"oscine pretrain: {stopped}; --resume goes on")
        return stopped.code
    except DiskError as error:
        raise OscineError(f"{error}, {'--resume goes on' if error.resumable else '--overwrite begins anew'}") from error
    except Diverged as error:
        raise OscineError(
            f"{error}; a new run with a lower recipe.lr or a trainer.gradient_clip_val may do better"
        ) from error
    return None


def parser(method: str) -> Parser:
    made = config.parser("pretrain", PURPOSE)
    made.add_argument("--name", type=str, required=True, help="of the run")
    made.add_argument("--runs", type=Path, default=Path("runs"), help="folder that holds the runs")
    made.add_argument("--method", choices=[method], help="the recipe's class")
    made.add_argument("--seed", type=int, default=0, help="of the weights, the order of the clips, cuts and masks")
    made.add_argument(
        "--encoder",
        type=dict[str, int | float | str],
        required=True,
        help="name and settings for create_model, such as --encoder.seconds 5",
    )
    made.add_class_arguments(RECIPES.get(method) or METHODS[method], "recipe", skip={"encoder"})
    made.add_class_arguments(DataSettings, "data")
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
    made.add_class_arguments(TrainerSettings, "trainer")
    made.add_order("--resume", action="store_true", help="go on with the run of this name")
    made.add_order("--overwrite", action="store_true", help="delete the run of this name and start anew")
    made.add_argument("--init", type=str, help="start from an encoder: a run's folder, local-dir:FOLDER or a zoo name")
    made.add_order("--change", nargs="+", type=str, default=[], metavar="KEY", help="settings that may differ")
    return made


def record_of(made: Parser, settings: Namespace) -> dict[str, Any]:
    """What a run is, as it is written down with it: all settings but what is asked for now."""
    return yaml.safe_load(made.dump(settings, skip_unset=False))


def refuse(method: str, settings: Namespace, record: dict[str, Any]) -> LabelledTable | None:
    """Refuse what arguments and files alone show to be wrong, before torch is imported; --probe_table, read for that."""
    folder = settings.runs / check_name(settings.name)
    if is_first():  # of the processes of a run on several devices, which all call this: it looks after the folder
        replaced_run(folder).recover(stands(folder))
        check(folder, settings.resume, settings.overwrite)
        if settings.resume:
            check_same(folder / SETTINGS, config.read(folder / SETTINGS), record, settings.change)
    check_encoder(settings.encoder)
    if method in RECIPES:
        RECIPES[method](**settings.recipe.as_dict())
    DataSettings(**settings.data.as_dict())
    check_recordings(settings.data.recordings)
    if settings.init and not (
        settings.resume and resumable(folder / STATE)
    ):  # a run that goes on has weights of its own
        check_source(settings.init)
    if not settings.probe_table:
        return None
    from oscine.probe.tasks.splits import read_labelled  # pandas, which --help does without

    return read_labelled(settings.probe_table)


def check_source(source: str) -> None:
    """Refuse what `encoder_with_weights` would, as far as names and files tell it."""
    folder = Path(source.removeprefix(LOCAL))
    if not folder.is_dir():
        check_model(source, pretrained=True)
    elif not resumable(folder / STATE):  # else of a run, whose newest state has its encoder
        check_folder(encoder_folder(folder))


def check_recordings(recordings: Path | list[Path]) -> None:
    """Refuse a file or folder that is not there, and a folder that holds nothing to cut clips from."""
    if isinstance(recordings, list) or recordings.is_file():
        return
    if recordings.suffix.lower() in LISTS and not recordings.exists():
        raise OscineError(f"no manifest {recordings}; check the path")
    files = (name.lower() for _, _, names in os.walk(recordings, followlinks=True) for name in names)
    if not any(name.endswith((*SUFFIXES, *PACKED)) for name in files):
        find_recordings(recordings)  # says what is wrong


def check(folder: Path, resume: bool, overwrite: bool) -> None:
    """Never lose a run: an existing one is resumed or overwritten only by name."""
    if resume and overwrite:
        raise Misuse("--resume goes on with a run and --overwrite deletes it; name one of them")
    if resume and not (folder / SETTINGS).exists():
        raise OscineError(f"nothing to resume: no {folder / SETTINGS}; leave out --resume to start this run")
    if overwrite:
        check_replaceable(folder)
    elif folder.exists() and not resume:
        raise OscineError(f"{folder} exists; --resume goes on with it, --overwrite deletes it, --name X starts another")


def check_same(source: object, saved: dict[str, Any], given: dict[str, Any], change: list[str]) -> None:
    """What goes on is what it began as: its settings against those that are given now. `change` names keys or sections."""
    was, now = dict(flat(saved)), dict(flat(given))
    if "data.channel" in now:  # 0.1 read the mix and did not say so
        was.setdefault("data.channel", MIX)
    if WARMUP in was and WARMUP in now and rise(was) == rise(now):
        was[WARMUP] = now[WARMUP]
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


def rise(settings: dict[str, Any]) -> int:
    """The steps of a run's warm-up, which are written as such or, since there are shares, as a share of all steps."""
    warmup = settings[WARMUP]
    return round(warmup * settings[STEPS]) if warmup < 1 else warmup


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted keys, as they are given on the command line."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_encoder(encoder: dict[str, Any]) -> None:
    """Refuse a name that is no architecture's, and settings that are no numbers."""
    if str(encoder["name"]).startswith((HUB, LOCAL)) or {"pretrained", "checkpoint_path"} & encoder.keys():
        raise Misuse(
            f"--encoder {encoder} has weights of its own; --encoder.name is an architecture, --init starts from weights"
        )
    for key, value in encoder.items():
        if key != "name" and isinstance(value, str):
            raise Misuse(f"--encoder.{key} is {value!r}, expected a number")
    check_model(str(encoder["name"]))
    architecture = ARCHITECTURES[encoder["name"].partition(".")[0]]
    check_settings(architecture.encoder, encoder.keys() - {"name"})
