"""Gather the runs of all probes in one file, and show them as rows beside published scores."""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oscine.models.errors import OscineError
from oscine.models.files import append_line, similar_path
from oscine.models.json_text import as_record, dotted, parse_json, read_json
from oscine.models.text.words import counted
from oscine.probe.results.run_files import SCORES

RESULTS = "results.jsonl"  # in the folder of the runs
logger = logging.getLogger(__name__)

MOST, LONGEST = 3, 20  # settings that are named in a row, and characters of each: a terminal is about 100 wide
RECORDINGS = "recordings"  # the key of the scores where events were judged
PUBLISHED = Path(__file__).with_name("published_scores.csv")


@dataclass(frozen=True)
class Run:
    """What one run of a probe came to. Runs that differ in nothing but their seed are averaged.

    mean, std   metric to score over the parts (folds); None where it is not defined
    settings    whatever else changes the scores, such as the fit's steps; for JSON
    name        of its folder; metric: by which its settings are chosen, see `TaskKind`; "" in lines of versions that did
                not note them
    """

    task: str
    encoder: str
    probe: str
    seed: int
    mean: dict[str, float | None]
    std: dict[str, float | None]
    settings: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    metric: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.task, self.encoder, self.probe, json.dumps(self.settings, sort_keys=True, default=str)


class Figure(NamedTuple):
    """A published score, in [0, 1] as our own; spread is a standard deviation or None. Metrics as in `Metrics`."""

    task: str
    metric: str
    encoder: str
    probe: str
    value: float
    spread: float | None
    source: str


class Score(NamedTuple):
    """In [0, 1]; spread is a standard deviation or None."""

    value: float
    spread: float | None


class Row(NamedTuple):
    """What one encoder with one probe came to on a task, and who says so."""

    encoder: str
    probe: str
    scores: dict[str, Score]
    source: str


def add_run(path: str | Path, run: Run) -> None:
    """Add a line to a results file. Several processes may do so at once; what a crash leaves is skipped by who reads."""
    append_line(Path(path), json.dumps(asdict(run), default=str))


def read_runs(path: str | Path, name: str = "") -> list[Run]:
    """Read the runs of a results file, in their order; of those with the same settings and seed, the last.

    name: of the one run that is wanted, as it was made last; where no line has it, that is logged, and all are returned.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        near = similar_path(path)
        meant = f"did you mean {near}? " if near else ""
        raise OscineError(f"no results {path}; {meant}oscine probe writes them") from None
    found = list(_parse_runs(path, lines))
    if name:
        own = [run for run in found if run.name == name]
        if not own:
            logger.warning("%s does not say which of its runs is %s: all are shown", path, name)
        found = [run for run in own if (run.settings, run.seed) == (own[-1].settings, own[-1].seed)] or found
    return latest(found)


def latest(runs: Iterable[Run]) -> list[Run]:
    """Return of runs with the same settings and seed the last; log how many are left out, and one of them."""
    kept: dict[Any, Run] = {}
    left_out = list[tuple[str, str]]()  # names, with those of what stands for them
    for run in runs:
        if earlier := kept.pop((run.key, run.seed), None):
            left_out.append((earlier.name, run.name))
        kept[run.key, run.seed] = run
    if left_out:
        name, by = max(left_out, key=lambda names: names[0] != names[1])  # one that was called otherwise, if any
        such = f"{name or 'one'}, for {by or 'one'}" if name != by else f"an earlier {by or 'one'}"
        logger.info(
            "%s left out, since later ones have the same settings and seed: such as %s",
            counted(len(left_out), "run is", "runs are"), such,
        )  # fmt: skip
    return list(kept.values())


def _parse_runs(path: Path, lines: Iterable[bytes]) -> Iterator[Run]:
    for number, line in enumerate(lines, start=1):
        try:
            yield as_record(Run, parse_json(line, path, ""), path, "")
        except OscineError:
            logger.warning("%s: line %d is no run, or was cut short by a crash; it is left out", path, number)


def judged_events(run: Path) -> list[dict[str, Any]]:
    """Read what the scores of a run say of each recording whose events it judged; none where it judged clips."""
    try:
        scores = read_json(run / SCORES, "")
    except (OSError, OscineError):
        return []
    return (scores.get(RECORDINGS) if isinstance(scores, dict) else None) or []


def own_rows(runs: Iterable[Run], task: str) -> list[Row]:
    """Make a row of the runs of a task that differ in their seed alone; spread over seeds, or the folds of a single run.

    Rows that would look alike have the names of their runs, or where these do not tell, the settings that differ.
    """
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.task == task:
            groups.setdefault(run.key, []).append(run)
    alike: dict[tuple[str, str], list[list[Run]]] = {}
    for group in groups.values():
        alike.setdefault((group[0].encoder, _probe(group[0])), []).append(group)
    marks = {group[0].key: mark for some in alike.values() for group, mark in zip(some, _marks(some), strict=True)}
    return [
        Row(
            group[0].encoder,
            _probe(group[0]),
            _mean(group),
            f"yours, {counted(len(group), 'seed')}" + f": {marks[key]}" * bool(marks[key]),
        )
        for key, group in groups.items()
    ]


def _marks(groups: list[list[Run]]) -> list[str]:
    """Tell groups of runs apart that have one encoder and one probe: "" of one alone."""
    if len(groups) == 1:
        return [""]
    names = [", ".join(dict.fromkeys(run.name for run in group)) for group in groups]
    if all(run.name for group in groups for run in group) and len(set(names)) == len(names):
        return names
    settings = [dict(dotted(group[0].settings)) for group in groups]
    every = dict.fromkeys(name for one in settings for name in one)
    differ = [name for name in every if len({str(one.get(name)) for one in settings}) > 1]
    return [", ".join(f"{name} {str(one.get(name))[:LONGEST]}" for name in differ[:MOST]) for one in settings]


def _probe(run: Run) -> str:
    """Name a run's probe, what it pools, and its layer, if that is not the last, or all of a probe of all."""
    head = run.settings.get("head")
    head = head if isinstance(head, dict) else {}
    pool, layer = head.get("pool"), head.get("layer", -1)
    return run.probe + (f" on {pool}" if pool else "") + (f", layer {layer}" if layer not in (-1, None) else "")


def published_figures() -> Iterator[Figure]:
    """Read every published figure of frozen and fine-tuned encoders, in the order of the table, which holds percent.

    The model card of Bird-MAE was not compared with the paper itself, whose tables could not be had; the four figures that
    somebody else quotes from these are the same there, and stand under that source.
    """
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            spread = float(row["spread"]) / 100 if row["spread"] else None
            named = (row["task"], row["metric"], row["encoder"], row["probe"])
            yield Figure(*named, float(row["percent"]) / 100, spread, row["source"])


def published_rows(figures: Iterable[Figure], task: str) -> list[Row]:
    """Make a row of all metrics that one source gives for one encoder with one probe."""
    rows: dict[tuple[str, str, str], Row] = {}
    for figure in figures:
        if figure.task == task:
            who = figure.encoder, figure.probe, figure.source
            row = rows.setdefault(who, Row(figure.encoder, figure.probe, {}, figure.source))
            row.scores[figure.metric] = Score(figure.value, figure.spread)
    return list(rows.values())


def deciding_metric(rows: Sequence[Row], chosen_by: Container[str] = ()) -> str:
    """Return the metric that most rows have; of several one by which settings are chosen, else the first."""
    counts = Counter(metric for row in rows for metric in row.scores)
    return max(counts, key=lambda metric: (counts[metric], metric in chosen_by), default="accuracy")


def ranked(rows: Iterable[Row], metrics: Sequence[str]) -> list[Row]:
    """Sort rows by the first metric, the best first; below them those without it by the second, and so on."""

    def place(row: Row) -> tuple[int, float]:
        number = next((number for number, metric in enumerate(metrics) if metric in row.scores), len(metrics))
        return number, -row.scores[metrics[number]].value if number < len(metrics) else 0.0

    return sorted(rows, key=place)


def _mean(group: list[Run]) -> dict[str, Score]:
    scores = {}
    for metric in dict.fromkeys(metric for run in group for metric in run.mean):
        found = [(value, run.std.get(metric)) for run in group if (value := run.mean.get(metric)) is not None]
        if len(found) == 1:
            [(value, spread)] = found
            scores[metric] = Score(value, spread or None)
        elif found:
            values = [value for value, _ in found]
            scores[metric] = Score(float(np.mean(values)), float(np.std(values)))
    return scores
