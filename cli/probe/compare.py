"""`oscine compare`: show one's own runs beside published figures with their sources, or compare two row by row."""

from __future__ import annotations

import inspect
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from oscine.cli.console.command import Help, Parser, say_loading
from oscine.cli.console.output import plain, print_table
from oscine.models.errors import Misuse, OscineError
from oscine.models.text.words import counted
from oscine.probe.results.run_files import PREDICTIONS, check_predictions
from oscine.probe.results.runs import (
    RESULTS,
    Row,
    Score,
    deciding_metric,
    judged_events,
    latest,
    own_rows,
    published_figures,
    published_rows,
    ranked,
    read_runs,
)


def main(arguments: list[str]) -> int | None:
    made = Parser(
        prog="oscine compare",
        usage="oscine compare [RUNS ...] [options]",
        description=inspect.getdoc(compare),
        formatter_class=Help,
    )
    made.add_argument("runs", metavar="RUNS", type=Path, nargs="*", help="folders of runs, or results files")
    made.add_argument("--task", type=str, help="only this one, such as hsn or esc50")
    made.add_argument(
        "--metric",
        type=str,
        help="that decides the order, such as cmap; by default the one that most rows have, of several the one by which "
        "settings are chosen",
    )
    made.add_argument("--own", action="store_true", help="leave the published figures out")
    made.add_argument("--paired", type=Path, help="the folder of a run, to be compared with the other one")
    settings = made.parse_args(arguments)
    compare(settings.runs, settings.task, settings.metric, settings.own, settings.paired)
    return None


def compare(
    runs: list[Path],
    /,
    task: str | None = None,
    metric: str | None = None,
    own: bool = False,
    paired: Path | None = None,
) -> None:
    """Show runs of oscine probe beside the published figures, the best first; or how much one run beats another.

    RUNS is a folder of runs, such as runs/probe, or the file results.jsonl in which its runs gather, or the folder of one
    run, such as runs/probe/mine; several are shown together. Runs that differ in their seed alone are one row; of those with
    the same seed the last counts. Rows without the metric that decides stand below the others. Without RUNS, the published
    figures of a task are shown. With --paired, RUNS is the folder of one run, and both are compared row by row; runs that
    find events, recording by recording.
    """
    if paired:
        if len(runs) != 1:
            raise Misuse(f"--paired compares two runs, {1 + len(runs)} were named; name the folder of the other one")
        print_table(difference(paired, runs[0]))
        return
    if own and not runs:
        raise Misuse("--own leaves the published figures out; name runs, such as runs/probe")
    files = list(dict.fromkeys(file for place in runs for file in results_below(place)))
    found = latest(run for file, name in files for run in read_runs(file, name))
    figures = list(published_figures())
    tasks = list(dict.fromkeys(run.task for run in found))
    where = ", ".join(map(str, runs))
    if not runs:
        tasks = list(dict.fromkeys(figure.task for figure in figures))
    if task not in tasks:  # HSN is hsn
        task = next((name for name in tasks if name.casefold() == (task or "").casefold()), task)
    if not runs:
        if task not in tasks:
            asked = f"no published figures of {task!r}" if task else "nothing to compare"
            raise Misuse(f"{asked}; name runs, such as runs/probe, or with --task one of {', '.join(tasks)}")
    elif not tasks or task not in [None, *tasks]:
        raise Misuse(f"{where} has no runs{f' of {task!r}' if task else ''}; it has {', '.join(tasks) or 'none'}")
    for name in [task] if task else tasks:
        mine, others = own_rows(found, name), [] if own else published_rows(figures, name)
        known = list(dict.fromkeys(known for row in (*mine, *others) for known in row.scores))
        if metric not in [None, *known]:
            raise Misuse(f"no row of {name} has a metric {metric!r}; choose from {', '.join(known)}")
        chosen_by = {run.metric for run in found if run.task == name}
        print_table(table(name, mine, others, metric or deciding_metric([*others, *mine], chosen_by)))


def results_below(place: Path) -> list[tuple[Path, str]]:
    """Return the results files that a path names: itself, those of a folder of runs, or that of the run's folder.

    With each comes the name of the one run in it that is meant, or "".
    """
    if not place.is_dir():
        return [(place, "")]
    if found := sorted(place.rglob(RESULTS)):
        return [(file, "") for file in found]
    run = place.resolve()
    if (run.parent / RESULTS).is_file():
        return [(run.parent / RESULTS, run.name)]
    raise OscineError(f"no {RESULTS} in {place} or below it; oscine probe writes it into the folder of its runs")


def table(task: str, own: list[Row], others: list[Row], first: str) -> Table:
    """Make the table of a task, by the first of its metrics; own rows stand out.

    Columns are that metric and the published ones, or one's own where none are.
    """
    shown = list(dict.fromkeys([first, *(name for row in others or own for name in row.scores)]))
    rows = ranked([*own, *others], shown)
    without = sum(first not in row.scores for row in rows)
    below = f"; {counted(without, 'row')} without it below, by the next score that there is" if without else ""
    made = Table(
        "encoder", "probe", *(Column(plain(name)) for name in shown), "from",
        title=plain(task), title_justify="left", box=SIMPLE_HEAD,
        caption=plain(f"the best {first} first{below}"), caption_justify="left",
    )  # fmt: skip
    for row in rows:
        made.add_row(
            plain(row.encoder), plain(row.probe), *(cell(row.scores.get(name)) for name in shown), plain(row.source),
            style="bold" if row in own else None,
        )  # fmt: skip
    return made


def difference(first: Path, second: Path) -> Table:
    """Compare two runs: how much higher the first scores on the rows, or recordings, that both were judged on.

    Above 0 is the share of what the difference may be; the interval leaves 0 out where that is over 97.5 %, or under 2.5.
    """
    one, other = judged_events(first), judged_events(second)
    if bool(one) != bool(other):
        raise Misuse(f"one of {first} and {second} found events, the other judged clips; compare runs of one task")
    if not one:
        for run in (first, second):
            check_predictions(run / PREDICTIONS)
    say_loading("compare", f"{first} and {second}")
    import torch
    from pandas import DataFrame

    from oscine.probe.results import intervals
    from oscine.probe.results.predictions import read_predictions

    if one:
        events = DataFrame(one), DataFrame(other)
        compared = intervals.compare_recordings(*events)
        scores, rows = [intervals.event_scores(run) for run in events], [len(run) for run in events]
    else:
        clips = read_predictions(first / PREDICTIONS), read_predictions(second / PREDICTIONS)
        compared = intervals.compare_predictions(*clips)
        scores = [{name: intervals.score_of(run, intervals.SCORES[name]) for name in compared} for run in clips]
        rows = [len(run.rows) for run in clips]
    made = Table("", first.name, second.name, "higher by", "95 % interval", "above 0", box=SIMPLE_HEAD)
    for name, ((value, low, high), ahead) in compared.items():
        # Of a bootstrap's scores, that of all rows, each drawn once.
        both = [score[name](torch.ones(1, count, dtype=torch.float64)).item() for score, count in zip(scores, rows)]
        made.add_row(
            name, *(f"{score:.3f}" for score in both), f"{value:+.3f}", f"{low:+.3f} to {high:+.3f}", f"{ahead:.1%}"
        )
    return made


def cell(score: Score | None) -> str:
    """Write a score with its spread, if it has one."""
    if score is None:
        return ""
    return f"{score.value:.3f}" + (f" ± {score.spread:.3f}" if score.spread is not None else "")
