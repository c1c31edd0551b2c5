"""Run a probe in one folder as `oscine probe` does, from settings to scores and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from oscine import __version__
from oscine.models.encoders.base.devices import clips_at_once, pick_device
from oscine.models.encoders.base.features import Selection
from oscine.models.files import write_whole
from oscine.models.locks import lock_output
from oscine.models.progress import Bar, NoBar
from oscine.models.zoo import open_encoder
from oscine.probe.features.encoding import check_layers_of
from oscine.probe.fit.baselines import ALL_LAYERS
from oscine.probe.fit.settings import check_selection
from oscine.probe.heads.registry import PROBES
from oscine.probe.results.run_files import FOLDS_MADE, SCORES, replacing_run
from oscine.probe.results.runs import RESULTS, Run, add_run
from oscine.probe.run.context import RunContext
from oscine.probe.run.judge_task import Findings, judge_clips, judge_recordings, judge_shots, tune_clips, tune_shots
from oscine.probe.run.settings import ProbeRunSettings, check_run
from oscine.probe.tasks.open import Clips, hash_rows, open_frames, open_task, task_name
from oscine.probe.tasks.settings import ANNOTATED
from oscine.probe.tasks.splits import write_folds
from oscine.probe.tasks.task import Task


class ProbeRun(NamedTuple):
    """The folder and the scores that a run has left.

    scores   what scores.json holds: settings, every part's metrics, and how far they can be trusted ("evidence")
    summary  of every task, or every number of shots, "mean" and "std" of each metric over its parts
    """

    folder: Path
    scores: dict[str, Any]
    summary: Mapping[str, Mapping[str, Any]]


def run_probe(settings: ProbeRunSettings, *, progress: Bar | None = None) -> ProbeRun:
    """Fit a probe on an encoder, judge it on other clips, and leave scores, predictions, probe and report in a folder.

    progress: a display, such as that of the commands; None shows nothing.
    Raises OscineError where the settings do not fit one another or the files, before anything is written.
    """
    return run_checked(settings, check_run(settings), progress or NoBar())


def run_checked(settings: ProbeRunSettings, clips: Clips, bar: Bar, *, command: str = "") -> ProbeRun:
    """Run settings that `check_run` has passed, with the clips that it has read. command: the call, for the report."""
    device = pick_device(settings.device)
    at_once = settings.batch_size or clips_at_once(device)
    settings = replace(settings, device=device, batch_size=at_once, head=settings.whole_head())
    scenes = open_frames(settings)
    cut = settings.task.name == ANNOTATED and not settings.seconds  # into clips of the encoder's length
    task = scenes.whole if scenes else None if cut else open_task(settings, settings.seconds or 0.0, clips)
    encoder = open_encoder(settings.encoder, None, settings.random_weights, settings.device, settings.fit.seed)
    task = task or open_task(settings, encoder.seconds, clips)
    check_selection(settings.fit.select_every, task.parts)
    name = task_name(settings)
    run = RunContext(PROBES[settings.probe], encoder, settings, bar, at_once, clips.background, command=command)
    run.maker(task)()  # a probe that cannot be built is refused before anything is written
    if settings.head.get("pool") == Selection.CLS:
        encoder.say_what_cls_is()
    if settings.layer_scores:
        check_layers_of(encoder, ALL_LAYERS)
    with lock_output(run.folder, "choose another --name"):
        if scenes:
            found = judge_recordings(run, scenes, name)
        else:
            by_clips, by_shots = (tune_clips, tune_shots) if settings.finetune else (judge_clips, judge_shots)
            found = (by_shots if settings.task.shots else by_clips)(run, task, name)
        facts = {
            "oscine": __version__,
            "task": name,
            "settings": settings.as_dict(),
            "weights": encoder.provenance,
            "classes": task.classes,
            "rows": len(task.rows),
        }
        scores = facts | found.scores
        with replacing_run(run.folder, searched=settings.search.trials > 0):
            write_whole(run.folder / SCORES, (json.dumps(scores, indent=2, default=str) + "\n").encode())
            if "fold" in task.rows and settings.own:
                write_folds(run.folder / FOLDS_MADE, task.rows)
            found.rest()
        _note(settings, encoder.provenance, task, found)
    return ProbeRun(run.folder, scores, found.rows)


def _note(settings: ProbeRunSettings, weights: Any, task: Task, found: Findings) -> None:
    """Add the run to the results file, with whatever changes its scores beside task, encoder, probe and seed."""
    written = settings.as_dict()
    kept = "table" if settings.embeddings else "float32" if settings.store is None else "float16"
    changes = {
        "weights": weights,
        "rows": hash_rows(task),
        "features": None if settings.finetune else kept,
        "seconds": settings.seconds,
        "task": written["task"],
        "head": written["head"],
        "fit": {**written["fit"], "seed": None},
        **({"search": written["search"]} if settings.search.trials else {}),
        **({"tuning": written["tuning"]} if settings.finetune else {}),
    }
    for name, row in found.rows.items():
        who = (name, settings.encoder, settings.probe_name, settings.fit.seed)
        noted = Run(*who, row["mean"], row["std"], changes, settings.name, task.kind.metric)
        add_run(settings.runs / RESULTS, noted)
