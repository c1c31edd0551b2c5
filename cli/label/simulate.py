"""`oscine label simulate`: what strategies would have saved on clips that have labels already."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.table import Table

from oscine.cli.console import config
from oscine.cli.console.command import Help, Parser, add_fields, meanings, say_loading
from oscine.cli.console.output import plain, print_table, progress_bar
from oscine.probe.label.simulation.settings import SimulationSettings, check_simulation
from oscine.probe.tasks.settings import TaskSettings

if TYPE_CHECKING:
    from oscine.probe.label.simulation.summary import Simulation

PURPOSE = """Say what strategies would have saved on clips that have labels already.

EMBEDDINGS are tables of `oscine embed`, each by another encoder, that hold every clip of the labelled --table (or of a
task that --data and --task.name name, as for `oscine probe`). Its column fold or split says which clips scores are of;
no strategy sees them. Every strategy starts from the same clips and chooses batch after batch; after each, a probe is
fitted from nothing to the labels bought so far. All is compared with random clips.

OUT then holds runs.jsonl (a line a run, with the clips that were chosen), initial_sets/ (the first clips of every seed),
curves.csv, summary.json and report.html. Killed, the same call goes on; one with more --seeds, --strategies,
--initial_sets or EMBEDDINGS adds theirs."""


def main(arguments: list[str]) -> int | None:
    settings = parse(arguments)
    clips = check_simulation(settings)
    say_loading("label simulate", "the clips")
    from oscine.probe.label.simulation.simulate import CURVES, REPORT, RUNS, simulate_checked

    with progress_bar() as bar:
        found = simulate_checked(settings, clips, bar, shlex.join(["oscine", "label", "simulate", *arguments]))
    print_found(found)
    print(f"report: {settings.out / REPORT}")
    print(f"every run with its clips: {settings.out / RUNS}; every point of every curve: {settings.out / CURVES}")
    return None


def parse(arguments: list[str]) -> SimulationSettings:
    """Parse the arguments of a simulation; what stands in a --suite is overridden by what is given beside it."""
    made = parser()
    values = config.parse_added(made, "label", arguments, "--suite").as_dict()
    task = TaskSettings(**values.pop("task"))
    return SimulationSettings(**values, task=task)


def parser() -> Parser:
    made = Parser(
        prog="oscine label simulate",
        usage="%(prog)s EMBEDDINGS ... --table FILE.csv --out DIR [options]",
        description=PURPOSE,
        formatter_class=Help,
    )
    helps = meanings(SimulationSettings)
    made.add_argument("embeddings", metavar="EMBEDDINGS", nargs="+", type=str, help=helps["embeddings"])
    suites = ", ".join(config.shipped("label"))
    made.add_argument(
        "--suite", action="config", help=f"a protocol: a YAML of these options, or one that comes with oscine: {suites}"
    )
    add_fields(made, SimulationSettings, skip={"embeddings", "background"})
    made.add_class_arguments(TaskSettings, "task", skip={"valid", "shots", "draws"})
    return made


def print_found(found: Simulation) -> None:
    """Print what every strategy came to with every encoder, the greatest gain over random clips first."""
    from oscine.probe.label.simulation.words import NEARLY, gain_texts, reached_text, verdict

    for encoder, standings in found.standings.items():
        shown = Table(
            "strategy", "first clips", "area", "gain", "95 % interval", f"labels to {NEARLY}", title=plain(encoder)
        )
        for one in standings:
            shown.add_row(
                plain(one.strategy), one.initial_set, f"{one.areas.mean():.3f}", *gain_texts(found, one),
                reached_text(one.reached),
            )  # fmt: skip
        print_table(shown)
        print(verdict(found, encoder))
