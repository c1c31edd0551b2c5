"""The three ways in which `oscine probe` judges: by clips, by a few clips a class, and by the moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import Namespace

from oscine.cli.progress import Bar, size
from oscine.models.encoder import Encoder
from oscine.probe.data import Task
from oscine.probe.dcase import FrameTask
from oscine.probe.embedded import read_embedded
from oscine.probe.evidence import weigh
from oscine.probe.few_shot import few_shot_curve
from oscine.probe.fit import FitSettings, Judgement, Source, encode_task, judge
from oscine.probe.fitted import FittedProbe, keep_probe
from oscine.probe.frames import judge_frames
from oscine.probe.layers import ALL_LAYERS, layer_metric
from oscine.probe.portrait import portray
from oscine.probe.predictions import PREDICTIONS, predictions_of, write_predictions
from oscine.probe.probe import Needs, Probe
from oscine.probe.report import Report, write_report
from oscine.probe.saved import save_probe
from oscine.probe.scorecard import show_few_shot
from oscine.probe.store import Encoding, open_store

REPORT, PROBE = "report.html", "probe"


class Findings(NamedTuple):
    """What a judgement came to, in JSON; and of it, by the task's name, what a results file takes: mean and std.

    rest: makes what else a run leaves, once its scores are safe.
    """

    scores: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    rest: Callable[[], None]


@dataclass(frozen=True)
class Bench:
    """A probe, an encoder and the settings of one call of the command; whatever else it makes goes into `folder`."""

    probe: type[Probe]
    encoder: Encoder
    settings: Namespace
    folder: Path
    bar: Bar

    @property
    def fit(self) -> FitSettings:
        return FitSettings(**self.settings.fit.as_dict())

    @property
    def head(self) -> dict[str, Any]:
        return self.settings.head.as_dict()

    def title(self, name: str) -> str:
        return f"{self.settings.encoder}, {self.probe.__name__} on {name}"

    def maker(self, task: Task) -> Callable[[], Probe]:
        return partial(self.probe, self.encoder, len(task.classes), **self.head)

    def features(self, task: Task, needs: Needs, seconds: float | None = None) -> Source:
        """Of a task's rows: from a table of embeddings, from the store, which may have to encode them first, or kept in
        memory where there is no store."""
        settings = self.settings
        if settings.embeddings:
            return read_embedded(settings.embeddings, self.encoder, task, needs)
        progress = self.bar.task("encode")
        if settings.store is None:
            return encode_task(
                self.encoder, task, needs, seconds, settings.batch_size, settings.workers, progress=progress
            )
        encoding = Encoding(self.encoder, task, needs, seconds, settings.batch_size)
        self.bar.say(f"features of {len(task.rows)} clips: {size(encoding.nbytes)} below {settings.store}")
        limit = round(settings.store_gb * 1e9)
        return open_store(encoding, settings.store, limit, settings.workers, progress)


def judge_clips(bench: Bench, task: Task, name: str) -> Findings:
    """Scores and what stands behind them; then every prediction, the probe that is worth keeping, and a report."""
    settings, make_probe, seconds = bench.settings, bench.maker(task), bench.settings.seconds
    features = bench.features(task, make_probe().needs, seconds)
    layers = bench.features(task, ALL_LAYERS, seconds) if settings.layer_scores else None
    judgement = judge(make_probe, features, task, bench.fit, bench.bar.task("fit"), settings.device)
    bench.bar.say("how sure that is")
    evidence = weigh(judgement, task)
    found = judgement.as_dict() | {"evidence": evidence.as_dict()}

    def rest() -> None:
        write_predictions(bench.folder / PREDICTIONS, predictions_of(judgement, task))
        bench.bar.say("the probe to keep, and the report")
        fitted = keep_probe(
            make_probe, bench.head, bench.encoder, features, task, judgement, bench.fit, seconds, name, settings.device
        )
        save_probe(fitted, bench.folder / PROBE)
        page = portray(
            bench.title(name), settings.as_dict(), bench.encoder, task, judgement, features, evidence, layers, seconds
        )
        write_report(page, bench.folder / REPORT)

    return Findings(found, {name: found}, rest)


def judge_shots(bench: Bench, task: Task, name: str) -> Findings:
    """Scores of every draw of a few clips a class, all of them of the same features; and a picture of how they rise."""
    make_probe, asked = bench.maker(task), bench.settings.task
    features = bench.features(task, make_probe().needs, bench.settings.seconds)
    progress = bench.bar.task("fit")

    def judge_draw(drawn: Task) -> Judgement:
        return judge(make_probe, features, drawn, bench.fit, progress, bench.settings.device)

    curve = few_shot_curve(task, judge_draw, asked.shots, asked.draws)

    def rest() -> None:
        page = Report(bench.title(name))
        show_few_shot(page, {bench.probe.__name__: curve}, layer_metric(task))
        write_report(page, bench.folder / REPORT)

    points = [point.as_dict() for point in curve]
    return Findings({"few_shot": points}, {f"{name}_{point['shots']}_shot": point for point in points}, rest)


def judge_moments(bench: Bench, scenes: FrameTask, name: str) -> Findings:
    """Scores of the events that are found in whole recordings; then the probe, with the threshold that was chosen for it."""
    make_probe = bench.maker(scenes.whole)
    features = bench.features(scenes.whole, make_probe().needs, scenes.seconds)
    judgement = judge_frames(make_probe, features, scenes, bench.fit, bench.bar.task("fit"), bench.settings.device)
    found = judgement.as_dict()

    def rest() -> None:
        decided = judgement.chosen[0] or judgement.published[0]
        fitted = FittedProbe(
            judgement.probes[0].to(bench.encoder.device), bench.encoder, bench.head, scenes.classes, scenes.seconds,
            single_label=False, thresholds=torch.full((len(scenes.classes),), decided.decision.threshold),
            fitted_on={"task": name, "rows": len(scenes.parts[0].train), "judged": judgement.parts}, scores=found["mean"],
        )  # fmt: skip
        save_probe(fitted, bench.folder / PROBE)

    return Findings(found, {name: found}, rest)
