"""One file in which the runs of all probes accumulate, and the rows that hold them beside the published figures."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oscine.models.errors import OscineError
from oscine.models.json_text import parse_json, read_json
from oscine.models.schema import as_record
from oscine.probe.literature import Figure
from oscine.probe.run_files import SCORES

RESULTS = "results.jsonl"  # in the folder of the runs
logger = logging.getLogger(__name__)

RECORDINGS = "recordings"  # the key of the scores where events were judged


@dataclass(frozen=True)
class Run:
    """What one run of a probe came to. Runs that differ in nothing but their seed are averaged.

    mean, std   metric to score over the parts (folds); None where it is not defined
    settings    whatever else changes the scores, such as the fit's steps; for JSON
    """

    task: str
    encoder: str
    probe: str
    seed: int
    mean: dict[str, float | None]
    std: dict[str, float | None]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.task, self.encoder, self.probe, json.dumps(self.settings, sort_keys=True, default=str)


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
    line = (json.dumps(asdict(run), default=str) + "\n").encode()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line)  # one write at the end of the file: no two lines mix
        os.fsync(file.fileno())


def read_runs(path: str | Path) -> list[Run]:
    """The runs of a results file, in their order; of those with the same settings and seed, the last."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except FileNotFoundError:
        raise OscineError(f"no results {path}; oscine probe writes them") from None
    runs: dict[Any, Run] = {}
    for number, line in enumerate(lines, start=1):
        try:
            run = as_record(Run, parse_json(line, path, ""), path, "")
        except OscineError:
            logger.warning("%s: line %d is no run, or was cut short by a crash; it is left out", path, number)
            continue
        runs.pop((run.key, run.seed), None)
        runs[run.key, run.seed] = run
    return list(runs.values())


def judged_events(run: Path) -> list[dict[str, Any]]:
    """What the scores of a run say of each recording whose events it judged; none where it judged clips."""
    try:
        scores = read_json(run / SCORES, "")
    except (OSError, OscineError):
        return []
    return (scores.get(RECORDINGS) if isinstance(scores, dict) else None) or []


def check_predictions(path: Path) -> None:
    """Raise where there is no file of what a probe said of its rows."""
    if not path.is_file():
        raise OscineError(f"no predictions {path}; oscine probe writes them beside a run's scores")


def own_rows(runs: Iterable[Run], task: str) -> list[Row]:
    """A row for the runs of a task that differ in their seed alone; spread over seeds, or the folds of a single run."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.task == task:
            groups.setdefault(run.key, []).append(run)
    return [
        Row(group[0].encoder, _probe(group[0]), _mean(group), f"yours, {len(group)} seed{'s' * (len(group) > 1)}")
        for group in groups.values()
    ]


def _probe(run: Run) -> str:
    """The name of a run's probe, and what it pools: "linear" is on the mean or the class token where it is published."""
    head = run.settings.get("head")
    pool = head.get("pool") if isinstance(head, dict) else None
    return f"{run.probe} on {pool}" if pool else run.probe


def published_rows(figures: Iterable[Figure], task: str) -> list[Row]:
    """A row for all metrics that one source gives for one encoder with one probe."""
    rows: dict[tuple[str, str, str], Row] = {}
    for figure in figures:
        if figure.task == task:
            who = figure.encoder, figure.probe, figure.source
            row = rows.setdefault(who, Row(figure.encoder, figure.probe, {}, figure.source))
            row.scores[figure.metric] = Score(figure.value, figure.spread)
    return list(rows.values())


def ranked(rows: Iterable[Row], metric: str) -> list[Row]:
    """The best first; rows without the metric last."""
    return sorted(rows, key=lambda row: -row.scores[metric].value if metric in row.scores else 1.0)


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
