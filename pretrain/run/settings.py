"""Define the settings of a pretraining run, and check them by arguments and files alone, without torch."""

from __future__ import annotations

import inspect
import logging
import os
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from oscine.models.audio.channels import MIX
from oscine.models.audio.scan import LISTS, SUFFIXES, find_recordings
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import as_path, check_name, did_you_mean
from oscine.models.hub.encoder_files import SETTINGS, check_folder, encoder_folder
from oscine.models.hub.encoder_files import check_settings as check_encoder_settings
from oscine.models.hub.model_name import ModelName
from oscine.models.json_text import check_same_settings, dotted, shown
from oscine.models.plugins.classes import parameters_of
from oscine.models.settings_checks import check_kind, check_settings
from oscine.models.text.yaml_text import read_yaml
from oscine.models.zoo import check_model, find_architecture
from oscine.pretrain.distributed import is_first
from oscine.pretrain.methods import METHODS
from oscine.pretrain.run.files import STATE, check_replaceable, has_state_or_encoder, replaced_run, resumable
from oscine.pretrain.settings import RECIPES, DataSettings, TrainerSettings

logger = logging.getLogger(__name__)

WARMUP, STEPS = "recipe.warmup", "recipe.steps"
PACKED = (".tar", ".gz", ".parquet", ".csv", ".json")  # which a folder of shards, BirdSet's or AudioSet's holds
# What may differ when a run is resumed: where and how fast it goes, not what becomes of it.
FREE = {
    "runs", "save_every", "log_every", "health_every", "pictures_every", "probe_every", "probe_table", "keep_every",
    "data.workers", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
}  # fmt: skip
ORDERS = ("resume", "overwrite", "change")  # what is asked for now, and is not written down with a run


@dataclass(frozen=True, kw_only=True)
class PretrainingRunSettings:
    """What `run_pretraining` does; each is an option of `oscine pretrain`, by the same name.

    Args:
        name: of the run.
        encoder: name and settings for create_model, such as --encoder.seconds 5.
        data: which recordings, and how they become batches.
        method: the recipe's class.
        runs: folder that holds the runs.
        seed: of the weights, the order of the clips, cuts and masks.
        recipe: the recipe's own settings, by name; those that are left out have the recipe's defaults.
        trainer: on which machine it trains, and in which numbers.
        save_every: steps from one run state to the next.
        log_every: steps from one logged loss to the next.
        health_every: steps between looks at the encoder's health; 0: none.
        pictures_every: steps from one picture of clips, what is seen of them and what is predicted to the next, and of the
            curves; 0: none.
        probe_every: steps from one judgement of the encoder on --probe_table to the next; 0: none.
        probe_table: labelled table, as `oscine probe` takes it, on which k-NN and logistic regression judge the frozen
            encoder.
        keep_every: steps from one encoder to the next that is left in RUNS/NAME/encoders, for probes to run on each; 0: the
            last alone is left, in RUNS/NAME/encoder.
        init: start from an encoder: a run's folder, local-dir:FOLDER or a zoo name.
        resume: go on with the run of this name.
        overwrite: delete the run of this name and start anew.
        change: settings that may differ from those of the run that goes on, or of the encoder that it starts from.
    """

    name: str
    encoder: dict[str, int | float | str]
    data: DataSettings
    method: str = "BATPretraining"
    runs: Path = Path("runs")
    seed: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    save_every: int = 1000
    log_every: int = 10
    health_every: int = 100
    pictures_every: int = 500
    probe_every: int = 500
    probe_table: Path | None = None
    keep_every: int = 0
    init: str | None = None
    resume: bool = False
    overwrite: bool = False
    change: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("runs", "probe_table"):
            as_path(self, name)
        for name, kind in (("data", DataSettings), ("trainer", TrainerSettings), ("change", list)):
            check_kind(self, name, kind)
        if "name" not in self.encoder:
            raise Misuse(f"encoder is {self.encoder!r}, expected a dict with its name, such as {{'name': 'bat_tiny'}}")
        for name in ("save_every", "log_every", "health_every", "pictures_every", "probe_every", "keep_every"):
            least = 1 if name in ("save_every", "log_every") else 0
            if getattr(self, name) < least:
                raise Misuse(f"{name} is {getattr(self, name)}, expected at least {least}")

    @property
    def folder(self) -> Path:
        """Return the folder of the run."""
        return self.runs / self.name

    def whole_recipe(self) -> dict[str, Any]:
        """Return the recipe's settings, also those left out; what it does not have, or cannot be, is an error."""
        if kind := RECIPES.get(self.method):
            check_settings(self.method, self.recipe, [one.name for one in fields(kind)])
            return vars(kind(**self.recipe))
        own = METHODS[self.method]  # somebody's own: the defaults of its constructor, not of its parents'
        check_settings(self.method, self.recipe, parameters_of(own).keys() - {"encoder"})
        given = inspect.signature(own).parameters.values()
        return {one.name: one.default for one in given if one.default is not one.empty} | self.recipe

    def as_dict(self) -> dict[str, Any]:
        """Return what is written down with a run, in plain values: all but what is asked for now."""
        settings = as_plain(self) | {"recipe": as_plain(self.whole_recipe())}
        return {name: value for name, value in settings.items() if name not in ORDERS}


def as_plain(value: Any) -> Any:
    """Return a value as YAML has it: dataclasses are mappings, tuples lists, paths texts."""
    if is_dataclass(value):
        return {one.name: as_plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {key: as_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def check_run(settings: PretrainingRunSettings) -> None:
    """Refuse what settings and files alone show to be wrong, before torch is imported.

    A run that a killed call was replacing is put back first.
    """
    check_name(settings.name)
    METHODS.check(settings.method)
    first = is_first()  # of the processes of a run on several devices, which all call this: it looks after the folder
    if first:
        replaced_run(settings.folder).recover(has_state_or_encoder(settings.folder))
    settings.whole_recipe()
    if first:
        check_free(settings)
        if settings.resume:
            path = settings.folder / SETTINGS
            check_same(path, read_yaml(path, "--overwrite begins anew"), settings.as_dict(), settings.change)
    _check_encoder(settings.encoder)
    _check_recordings(settings.data.recordings)
    # A run that goes on has weights of its own.
    if settings.init and not (settings.resume and resumable(settings.folder / STATE)):
        _check_source(settings.init)


def with_own_recordings(settings: PretrainingRunSettings) -> PretrainingRunSettings:
    """Return settings with the recordings of the run of this name, as its record has them; which is logged."""
    path = settings.folder / SETTINGS
    if not path.exists():
        raise OscineError(nothing_to_resume(settings))
    data = read_yaml(path, "--overwrite begins anew").get("data")
    named = data.get("recordings") if isinstance(data, dict) else None
    if not isinstance(named, (list, str)):
        raise OscineError(f"{path} names no recordings; give --data.recordings")
    logger.info("recordings, as %s has them: %s", path, shown(named))
    recordings = [Path(str(one)) for one in named] if isinstance(named, list) else Path(named)
    return replace(settings, data=replace(settings.data, recordings=recordings))


def nothing_to_resume(settings: PretrainingRunSettings) -> str:
    return f"nothing to resume: no {settings.folder / SETTINGS}; leave out --resume to start this run"


def check_free(settings: PretrainingRunSettings) -> None:
    """Refuse to lose a run: an existing one is resumed or overwritten only by name."""
    folder, resume = settings.folder, settings.resume
    if resume and settings.overwrite:
        raise Misuse("--resume goes on with a run and --overwrite deletes it; name one of them")
    if resume and not (folder / SETTINGS).exists():
        raise OscineError(nothing_to_resume(settings))
    if settings.overwrite:
        check_replaceable(folder)
    elif folder.exists() and not resume:
        raise OscineError(f"{folder} exists; --resume goes on with it, --overwrite deletes it, --name X starts another")


def check_same(source: object, saved: dict[str, Any], given: dict[str, Any], change: list[str]) -> None:
    """Refuse to go on with other settings than a run began with. `change` names keys or sections that may differ."""
    was, now = dict(dotted(saved)), dict(dotted(given))
    if "data.channel" in now:  # 0.1 read the mix and did not say so
        was.setdefault("data.channel", MIX)
    if WARMUP in was and WARMUP in now and _rise(was) == _rise(now):
        was[WARMUP] = now[WARMUP]
    keys = sorted(was.keys() | now.keys())
    free = FREE | {key for key in keys if any(key == named or key.startswith(f"{named}.") for named in change)}
    differ = [key for key in keys if was.get(key) != now.get(key) and key not in free]
    remedy = f"give what was, allow it with --change {' '.join(differ)}, or start another run with --name X"
    check_same_settings(
        {key: was.get(key) for key in differ}, {key: now.get(key) for key in differ},
        complaint=f"{source} says", remedy=remedy,
    )  # fmt: skip


def _rise(settings: dict[str, Any]) -> int:
    """Return the steps of a run's warm-up, written as such or, since there are shares, as a share of all steps."""
    warmup = settings[WARMUP]
    return round(warmup * settings[STEPS]) if warmup < 1 else warmup


def _check_source(source: str) -> None:
    """Refuse what `encoder_with_weights` would, as far as names and files tell it."""
    folder = ModelName.parse(source).path
    if not folder.is_dir():
        check_model(source, pretrained=True)
    elif not resumable(folder / STATE):  # else of a run, whose newest state has its encoder
        check_folder(encoder_folder(folder))


def _check_recordings(recordings: Path | list[Path]) -> None:
    """Refuse a file or folder that is not there, and a folder that holds nothing to cut clips from."""
    if isinstance(recordings, list) or recordings.is_file():
        return
    if recordings.suffix.lower() in LISTS and not recordings.exists():
        raise OscineError(f"no manifest {recordings}; {did_you_mean(recordings)}")
    files = (name.lower() for _, _, names in os.walk(recordings, followlinks=True) for name in names)
    if not any(name.endswith((*SUFFIXES, *PACKED)) for name in files):
        find_recordings(recordings)  # says what is wrong


def _check_encoder(encoder: dict[str, Any]) -> None:
    """Refuse a name that is no architecture's, and settings that are no numbers."""
    if not ModelName.parse(encoder["name"]).without_prefix or {"pretrained", "checkpoint_path"} & encoder.keys():
        raise Misuse(
            f"--encoder {encoder} has weights of its own; --encoder.name is an architecture, --init starts from weights"
        )
    for key, value in encoder.items():
        if key != "name" and isinstance(value, str):
            raise Misuse(f"--encoder.{key} is {value!r}, expected a number")
    check_model(str(encoder["name"]))
    architecture = find_architecture(str(encoder["name"]))
    check_encoder_settings(architecture.encoder, encoder.keys() - {"name"})
