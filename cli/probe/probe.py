"""`oscine probe CONFIG`: judge an encoder with a probe on a task, and say how far the scores can be trusted."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from rich.table import Table

from oscine.cli.console import config
from oscine.cli.console.command import Parser, add_class, add_fields, meanings, say_loading
from oscine.cli.console.output import plain, print_table, progress_bar
from oscine.models.errors import Misuse
from oscine.models.json_text import dotted
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.search_space import SearchSettings, Space
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.registry import PROBES
from oscine.probe.heads.settings import HEADS
from oscine.probe.results.run_files import FOLDS_MADE, PROBE, REPORT, SCORES
from oscine.probe.results.runs import RESULTS
from oscine.probe.run.settings import ProbeRunSettings, after_stop, as_begun, check_run, head_of
from oscine.probe.tasks.settings import TaskSettings

if TYPE_CHECKING:
    from oscine.probe.run.run import ProbeRun

logger = logging.getLogger(__name__)

PURPOSE = """Judge an encoder, frozen or fine-tuned: fit a probe on labelled clips and score it on others.

The clips are those of your --table, a CSV with the columns path (relative to the table's folder), label (or labels, several
separated by ";"), and fold (each is tested on a probe fitted on the others) or split (train, test, and valid if you have
it), without which folds are made; start and end may name a part of a file. Or they are those of a published task,
--task.name, in the folder --data, or of a folder of your own: --task.name folder (a class for each folder in it) or
annotated (Raven or Audacity tables).

With a CONFIG of finetune/ the encoder learns, too, as its paper fine-tunes it, and is kept with the probe; killed, such a
run goes on with --resume.

What a frozen encoder makes of the clips is written once below --store, for every probe, fold and seed to read. RUNS/NAME
then holds scores.json, predictions.csv (and .parquet), report.html, and probe/, which `oscine predict` and `oscine publish`
take; the same call finishes a run that was stopped before its report. Few shots leave scores.json and report.html; events
in recordings (dcase2016) leave scores.json, report.html and probe/."""


SHOWN = (
    "accuracy", "map", "cmap", "auroc", "f1", "chosen_f1", "frame_map", "onset_f1", "segment_f1", "chosen_onset_f1",
    "chosen_segment_f1",
)  # fmt: skip


def main(arguments: list[str]) -> int | None:
    if not arguments or arguments[0].startswith("-"):
        print(config.usage("probe", PURPOSE))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = config.find("probe", arguments[0])
    content = config.read(path)
    name = content.get("probe")
    PROBES.check(name, path)
    own = content.get("task", {}).get("name")
    called = str(content.get("name", name)).removeprefix(f"{own}_")  # hsn_cgp is cgp, on HSN or another set
    tuned = arguments[0].startswith("finetune/")  # shipped ones are called after their probe, as in published tables
    more = config.added("probe", arguments[1:])
    settings = settings_of(parse(path, content, more), None if tuned else called)
    if settings.finetune and not tunes(content, more):
        settings = fine_tuned(arguments[0], content, more, settings)
    clips = check_run(settings)
    say_loading("probe", settings.encoder)
    try:
        from oscine.probe.run.run import run_checked

        with progress_bar() as bar:
            run = run_checked(settings, clips, bar, command=shlex.join(["oscine", "probe", *arguments]))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(after_stop(settings)) from None
    print_run(run)
    return None


def parse(path: Path, content: Mapping[str, Any], more: list[str]) -> Namespace:
    """Parse what stands behind a CONFIG, on top of its content."""
    made = parser(content["probe"])
    if tunes(content, more):
        made.set_defaults(finetune=True)
    return config.parse(made, path, more)


def tunes(content: Mapping[str, Any], more: list[str]) -> bool:
    """Return whether CONFIG, or one added with --config, asks for fine-tuning by `tuning`; the last that says counts.

    A CONFIG with a section `tuning` fine-tunes, unless it says `finetune: false`.
    """
    every = [content, *config.contents(more)]
    said = [bool(one.get("finetune", True)) for one in every if one.keys() & {"finetune", "tuning"}]
    return said[-1] if said else False


def fine_tuned(name: str, content: Mapping[str, Any], more: list[str], settings: ProbeRunSettings) -> ProbeRunSettings:
    """Return the settings of --finetune with a CONFIG that does not ask for it; refuse one that comes with oscine.

    A run that oscine 0.1 began so goes on with the settings in its folder, where the call does not give others.
    """
    own = name not in config.shipped("probe")
    if settings.resume:
        given = config.given(more) | (dict(dotted(content)).keys() if own else set())
        if begun := as_begun(settings, given):
            return begun
    if own:
        logger.info("fine-tuning with the numbers of %s", name)
        return settings
    meant = TUNED.get(name, OTHERS)
    raise Misuse(f"{name} is for a frozen encoder; to fine-tune, call a CONFIG of its own: oscine probe {meant}")


# What fine-tunes on the task of a CONFIG for a frozen encoder.
TUNED = {
    "hsn_prototypical": "finetune/bird_mae",
    "hsn_linear": "finetune/bird_mae or finetune/bat_hsn",
    "hsn_cgp": "finetune/bat_hsn",
    "hsn_few_shot_prototypical": "finetune/bird_mae_few_shot",
    "audioset_20k_cgp": "finetune/bat_audioset_20k",
    "esc50_cgp": "finetune/bat_esc50",
    "speech_commands_cgp": "finetune/bat_speech_commands",
}
OTHERS = "finetune/bat, or finetune/bird_mae"
SECTIONS = {"task": TaskSettings, "fit": FitSettings, "tuning": TuningSettings}
ORDERS = ("resume", "overwrite")


def parser(probe: str) -> Parser:
    """Make the parser: the fields of ProbeRunSettings, with the settings of that probe's class as `head`."""
    made = config.parser("probe", PURPOSE)
    add_fields(made, ProbeRunSettings, skip={"probe", "called", "head", *ORDERS})
    made.add_argument("--probe", choices=[probe], help=meanings(ProbeRunSettings)["probe"])
    made.add_class_arguments(TaskSettings, "task")
    add_class(made, head_of(probe), "head", ours=HEADS, skip={"encoder", "classes"})
    made.add_class_arguments(FitSettings, "fit")
    made.add_class_arguments(TuningSettings, "tuning")
    made.add_class_arguments(SearchSettings, "search")
    for order in ORDERS:
        made.add_order(f"--{order}", action="store_true", help=meanings(ProbeRunSettings)[order])
    return made


def settings_of(parsed: Namespace, called: str | None = None) -> ProbeRunSettings:
    """Return the settings that were parsed, as `run_probe` takes them."""
    plain = parsed.as_dict()
    sections = {name: kind(**plain.pop(name)) for name, kind in SECTIONS.items()}
    search = plain.pop("search")
    space = Space(**search.pop("space"))
    return ProbeRunSettings(**plain, **sections, search=SearchSettings(**search, space=space), called=called)


def print_run(made: ProbeRun) -> None:
    """Print the scores of a run, and where it lies."""
    print_table(table(made))
    for reason in made.scores.get("evidence", {}).get("unsaid", {}).values():
        print(reason)
    print(f"scores, every part's metrics and all settings: {made.folder / SCORES}")
    for kind, name in (
        ("report", REPORT),
        ("which clip is in which fold", FOLDS_MADE),
        ("fitted probe, for oscine predict", PROBE),
    ):
        if (made.folder / name).exists():
            print(f"{kind}: {made.folder / name}")
    results = made.folder.parent / RESULTS
    print(f"beside other runs and published figures: oscine compare {results} --task {next(iter(made.summary))}")


def table(made: ProbeRun) -> Table:
    """Make the table of a run: mean and spread of the metrics that fit each task, with intervals where there are some."""
    evidence = made.scores.get("evidence", {})
    shown = Table("", "", "mean", "std", "95 % interval")
    for task, row in made.summary.items():
        for name in SHOWN:
            interval = evidence.get("intervals", {}).get(name, {})
            value, low, spread = row["mean"].get(name, interval.get("value")), interval.get("low"), row["std"].get(name)
            if value is not None:
                between = "" if low is None else f"{low:.3f} to {interval['high']:.3f}"
                shown.add_row(plain(task), name, f"{value:.3f}", "" if spread is None else f"{spread:.3f}", between)
    return shown
