"""The work of `oscine probe`, once its arguments are known to fit: fit, judge, write, print."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from jsonargparse import Namespace
from rich.table import Table

from oscine import __version__
from oscine.cli.console.progress import progress_bar
from oscine.cli.console.tables import plain, show
from oscine.cli.encode.encoder import open_encoder, pick_device
from oscine.cli.probe.bench import Bench
from oscine.cli.probe.finetuning import tune_clips, tune_shots
from oscine.cli.probe.judging import Findings, judge_clips, judge_moments, judge_shots
from oscine.cli.probe.tasks import ANNOTATED, Clips, digest, is_own, open_frames, open_task, task_name
from oscine.models.encoders.base.devices import clips_at_once
from oscine.models.files import write_whole
from oscine.models.locks import lock_output
from oscine.probe.fit.settings import FitSettings, check_selection
from oscine.probe.heads.probe import Probe
from oscine.probe.results.run_files import FOLDS_MADE, PROBE, REPORT, SCORES, replacing_run
from oscine.probe.results.runs import RESULTS, Run, add_run
from oscine.probe.tasks.splits import write_folds
from oscine.probe.tasks.task import Task

SHOWN = (
    "accuracy", "map", "cmap", "auroc", "f1", "chosen_f1", "frame_map", "onset_f1", "segment_f1", "chosen_onset_f1",
    "chosen_segment_f1",
)  # fmt: skip


def run(probe: type[Probe], settings: Namespace, called: str, clips: Clips) -> None:
    """Fit and judge.

    called: the probe's name beside other runs' and in published tables, such as cgp; clips: what `read_clips` has read.
    """
    folder = settings.runs / settings.name
    scores = folder / SCORES
    fit = FitSettings(**settings.fit.as_dict())
    settings.device = pick_device(settings.device)
    settings.batch_size = settings.batch_size or clips_at_once(settings.device)
    scenes = open_frames(settings)
    cut = settings.task.name == ANNOTATED and not settings.seconds  # into clips of the encoder's length
    task = scenes.whole if scenes else None if cut else open_task(settings, settings.seconds or 0.0, clips)
    encoder = open_encoder(settings.encoder, None, settings.random_weights, settings.device, fit.seed)
    task = task or open_task(settings, encoder.seconds, clips)
    check_selection(fit.select_every, task.parts)
    name = task_name(settings)
    with progress_bar() as bar, ExitStack() as held:
        bench = Bench(probe, encoder, settings, folder, bar, clips.background)
        bench.maker(task)()  # a probe that cannot be built is refused before anything is written
        held.enter_context(lock_output(folder, "choose another --name"))
        if scenes:
            found = judge_moments(bench, scenes, name)
        else:
            by_clips, by_shots = (tune_clips, tune_shots) if settings.finetune else (judge_clips, judge_shots)
            found = (by_shots if settings.task.shots else by_clips)(bench, task, name)
        facts = {
            "oscine": __version__,
            "task": name,
            "settings": settings.as_dict(),
            "weights": encoder.provenance,
            "classes": task.classes,
            "rows": len(task.rows),
        }
        with replacing_run(folder, searched=settings.search.trials > 0):
            write_whole(scores, (json.dumps(facts | found.scores, indent=2, default=str) + "\n").encode())
            if "fold" in task.rows and is_own(settings):
                write_folds(folder / FOLDS_MADE, task.rows)
            found.rest()
        note(settings, encoder.provenance, task, "fine-tuned-" * settings.finetune + called, found)
    show(table(found))
    for reason in found.scores.get("evidence", {}).get("unsaid", {}).values():
        print(reason)
    print(f"scores, every part's metrics and all settings: {scores}")
    for kind, made in (
        ("report", folder / REPORT),
        ("which clip is in which fold", folder / FOLDS_MADE),
        ("fitted probe, for oscine predict", folder / PROBE),
    ):
        if made.exists():
            print(f"{kind}: {made}")
    print(
        f"beside other runs and published figures: oscine compare {settings.runs / RESULTS} --task {next(iter(found.rows))}"
    )


def note(settings: Namespace, weights: Any, task: Task, called: str, found: Findings) -> None:
    """Add the run to the results file, with whatever changes its scores beside task, encoder, probe and seed."""
    changes = {
        "weights": weights,
        "rows": digest(task),
        "features": kind_of_features(settings),
        "seconds": settings.seconds,
        "task": settings.task.as_dict(),
        "head": settings.head.as_dict(),
        "fit": {**settings.fit.as_dict(), "seed": None},
        **({"search": settings.search.as_dict()} if settings.search.trials else {}),
        **({"tuning": settings.tuning.as_dict()} if settings.finetune else {}),
    }
    for name, row in found.rows.items():
        made = Run(name, settings.encoder, called, settings.fit.seed, row["mean"], row["std"], changes, settings.name)
        add_run(settings.runs / RESULTS, made)


def kind_of_features(settings: Namespace) -> str | None:
    """How the features were kept that a probe was fitted on; None where the encoder learnt, too."""
    if settings.finetune:
        return None
    return "table" if settings.embeddings else "float32" if settings.store is None else "float16"


def table(found: Findings) -> Table:
    """Mean and spread of the metrics that fit each task, with intervals where there are some."""
    evidence = found.scores.get("evidence", {})
    made = Table("", "", "mean", "std", "95 % interval")
    for task, row in found.rows.items():
        for name in SHOWN:
            interval = evidence.get("intervals", {}).get(name, {})
            value, low, spread = row["mean"].get(name, interval.get("value")), interval.get("low"), row["std"].get(name)
            if value is not None:
                between = "" if low is None else f"{low:.3f} to {interval['high']:.3f}"
                made.add_row(plain(task), name, f"{value:.3f}", "" if spread is None else f"{spread:.3f}", between)
    return made
