"""Replay every strategy from every initial set for every seed; a run that has ended is kept, a call goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

from threadpoolctl import threadpool_limits
from torch.utils.data import Dataset

from oscine import __version__
from oscine.models.audio.workers import cores, read_in_processes
from oscine.models.errors import OscineError
from oscine.models.files import append_line, write_whole
from oscine.models.json_text import as_record, check_fields, check_same_settings, parse_json, read_json
from oscine.models.locks import lock_output
from oscine.models.progress import Bar, NoBar
from oscine.probe.label.simulation.page import simulation_page
from oscine.probe.label.simulation.replay import ALL_LABELS, Curve, Replay, first_clips, replay, replay_all
from oscine.probe.label.simulation.settings import (
    SimulationSettings,
    check_simulation,
    parse_initial_sets,
    parse_strategies,
)
from oscine.probe.label.simulation.summary import Simulation, summarise, write_curves
from oscine.probe.label.simulation.views import Encoded, View, check_parts, clip_seconds, read_encoders, view
from oscine.probe.report.html import write_report
from oscine.probe.tasks.open import Clips, hash_rows, open_task, task_name
from oscine.probe.tasks.task import Task

RUNS, SETTINGS, INITIAL_SETS = "runs.jsonl", "settings.json", "initial_sets"  # in the folder of the results
SUMMARY, CURVES, REPORT = "summary.json", "curves.csv", "report.html"
ANEW = "choose another --out"
MADE_BY = {"oscine": str, "rows": str, "protocol": dict[str, Any], "encoders": dict[str, str]}

logger = logging.getLogger(__name__)


def simulate(settings: SimulationSettings, *, progress: Bar | None = None) -> Simulation:
    """Replay strategies on labels that exist, and leave runs, curves, a summary and a page in a folder.

    progress: a display, such as that of the commands; None shows nothing.
    Raises OscineError where the settings do not fit one another or the files, before anything is written.
    """
    return simulate_checked(settings, check_simulation(settings), progress or NoBar())


def simulate_checked(settings: SimulationSettings, clips: Clips, bar: Bar, command: str = "") -> Simulation:
    """Simulate with settings that `check_simulation` has passed, and the clips that it has read.

    command: the call, as it is typed; "" from Python.
    """
    task = open_task(settings, clip_seconds(settings), clips)
    encoders = read_encoders(settings, task, bar)
    check_parts(settings, task, encoders)
    with lock_output(settings.out, ANEW), _writing(settings.out):
        settings.out.mkdir(parents=True, exist_ok=True)
        _check_begun(settings, task, encoders)
        runs = _replay_missing(settings, task, encoders, bar)
        found = summarise(settings, task, encoders, runs, task_name(settings))
        write_whole(settings.out / SUMMARY, (json.dumps(found.as_dict(), indent=2) + "\n").encode())
        write_curves(settings.out / CURVES, found.runs)
        write_report(simulation_page(found, command), settings.out / REPORT)
    return found


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Raise one line where the disk takes no more."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OscineError(f"{out} cannot be written: {reason}; make room, and the same call goes on") from None


def plan(settings: SimulationSettings, encoders: Sequence[str]) -> list[Replay]:
    """List every run: seed by seed, so that what is there of a call that was stopped can be compared."""
    calls, rules = parse_strategies(settings.strategies), parse_initial_sets(settings.initial_sets)
    return [
        Replay(seed, encoder, rule, strategy)
        for seed in range(settings.seeds)
        for encoder in encoders
        for rule, strategy in [("", ALL_LABELS), *((rule, call.text) for rule in rules for call in calls)]
    ]


def _check_begun(settings: SimulationSettings, task: Task, encoders: Mapping[str, Encoded]) -> None:
    """Note what runs depend on; raise where the folder has runs of something else, or anything that is no simulation."""
    path = settings.out / SETTINGS
    now: dict[str, Any] = {
        "oscine": __version__,
        "rows": hash_rows(task),
        "protocol": settings.protocol(),
        "encoders": {name: encoded.fingerprint for name, encoded in encoders.items()},
    }
    if not path.exists():
        if any((settings.out / name).exists() for name in (RUNS, SUMMARY, CURVES, REPORT)):
            raise OscineError(f"{settings.out} has results, and no {SETTINGS} that says of what; {ANEW}")
        write_whole(path, (json.dumps(now, indent=2) + "\n").encode())
        return
    begun = check_fields(read_json(path, ANEW), MADE_BY, path, ANEW)
    complaint = f"{settings.out} was begun with"
    check_same_settings(begun["protocol"], now["protocol"], complaint=complaint, remedy=f"call it as then, or {ANEW}")
    if begun["rows"] != now["rows"]:
        raise OscineError(f"{complaint} other clips, labels or folds; {ANEW}")
    check_same_settings(begun, now, complaint=complaint, remedy=ANEW, aside=("protocol", "rows", "encoders"))
    for name, fingerprint in now["encoders"].items():
        if begun["encoders"].get(name, fingerprint) != fingerprint:
            raise OscineError(f"{complaint} another table {name}; rename this one, or {ANEW}")
    write_whole(path, (json.dumps(now | {"encoders": begun["encoders"] | now["encoders"]}, indent=2) + "\n").encode())


def _replay_missing(
    settings: SimulationSettings, task: Task, encoders: Mapping[str, Encoded], bar: Bar
) -> dict[Replay, Curve]:
    """Replay what no call before has ended, in several processes; a line each is on disk before the next."""
    path, wanted = settings.out / RUNS, plan(settings, list(encoders))
    known = read_runs(path)
    missing = [run for run in wanted if run not in known]
    show = bar.task("replay")
    show(len(wanted) - len(missing), len(wanted))
    workers = min(settings.workers or cores(), len(missing))
    replays = Replays(settings, task, encoders, missing)
    for done, (run, curve) in enumerate(read_in_processes(replays, workers=workers, in_order=False), 1):
        append_line(path, json.dumps({**run._asdict(), **asdict(curve)}))
        known[run] = curve
        show(len(wanted) - len(missing) + done, len(wanted), f"{run.strategy}, seed {run.seed}")
    return {run: known[run] for run in wanted}


def read_runs(path: Path) -> dict[Replay, Curve]:
    """Read the runs that have ended; half a line, of a call that was killed, is none."""
    found = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        source = f"{path}, line {number}"
        try:
            fields = check_fields(parse_json(line, source, ""), get_type_hints(Replay), source, "")
            run = Replay(*(fields.pop(name) for name in Replay._fields))
            found[run] = as_record(Curve, fields, source, "")
        except OscineError:
            logger.warning("%s is no run, or was cut short; it is replayed anew", source)
    return found


class Replays(Dataset["tuple[Replay, Curve] | OscineError"]):
    """Runs, made one by one by the processes that ask for them. Those of a seed and an encoder come together."""

    def __init__(
        self, settings: SimulationSettings, task: Task, encoders: Mapping[str, Encoded], runs: Sequence[Replay]
    ) -> None:
        self.settings, self.task, self.encoders, self.runs = settings, task, encoders, runs
        self.calls = {call.text: call for call in parse_strategies(settings.strategies)}
        self.latest: tuple[tuple[str, int], View] | None = None

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, number: int) -> tuple[Replay, Curve] | OscineError:
        run = self.runs[number]
        try:
            with threadpool_limits(1):  # the processes share the cores
                return run, self._replay(run)
        except OscineError as error:
            return type(error)(f"{run.strategy}, seed {run.seed}: {error}")

    def _replay(self, run: Replay) -> Curve:
        seen, settings = self._view(run), self.settings
        if run.strategy == ALL_LABELS:
            return replay_all(settings, seen)
        name = f"{run.initial_set}_{settings.initial}_seed{run.seed}.json"
        first = first_clips(settings, seen, run.initial_set, run.seed, settings.out / INITIAL_SETS / run.encoder / name)
        return replay(settings, seen, self.calls[run.strategy], first, run.seed)

    def _view(self, run: Replay) -> View:
        """Show a seed its part of the task; runs that follow one another mostly share it."""
        part = run.seed % len(self.task.parts)
        if self.latest is None or self.latest[0] != (run.encoder, part):
            seen = view(self.settings, self.task, self.encoders[run.encoder].vectors, part)
            self.latest = (run.encoder, part), seen
        return self.latest[1]
