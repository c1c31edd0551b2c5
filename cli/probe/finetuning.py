"""`oscine probe --finetune`: the encoder learns, too; with what its paper fine-tunes with, unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import torch

from oscine import __version__
from oscine.cli.probe.bench import Bench
from oscine.cli.probe.judging import Findings, curve_findings
from oscine.cli.probe.tasks import digest, is_own
from oscine.models.encoders.base.state import fingerprint
from oscine.probe.deploy.negatives import make_negatives, raise_thresholds
from oscine.probe.deploy.saved import save_probe
from oscine.probe.features.encoding import Encoding
from oscine.probe.finetune.finetune import FineTuning
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.finetune.states import TuningStates
from oscine.probe.fit.judge import Judgement, silent
from oscine.probe.report.html import write_report
from oscine.probe.report.mistakes import show_false_positives
from oscine.probe.report.page import portray
from oscine.probe.results.intervals import weigh
from oscine.probe.results.predictions import predictions_of, write_predictions
from oscine.probe.results.run_files import PREDICTIONS, PROBE, REPORT, STATES
from oscine.probe.tasks.task import Task


def begin(bench: Bench, task: Task) -> tuple[FineTuning, TuningStates]:
    """What a call of the command fine-tunes, and the states that it keeps; what cannot be is refused before either."""
    settings = bench.settings
    plan = FineTuning(
        bench.maker(task), bench.encoder, task, bench.fit, TuningSettings(**settings.tuning.as_dict()), settings.seconds,
        settings.batch_size, settings.workers,
    )  # fmt: skip
    return plan, TuningStates(bench.folder / STATES, facts_of(bench, task), settings.resume, settings.overwrite)


def facts_of(bench: Bench, task: Task) -> dict[str, Any]:
    """All that changes a result, by name."""
    settings = bench.settings
    sections = {name: settings[name].as_dict() for name in ("task", "head", "fit", "tuning")}
    flat = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    flat.pop("tuning.save_every")
    return flat | {
        "encoder": settings.encoder, "weights": fingerprint(bench.encoder), "probe": settings.probe,
        "seconds": settings.seconds, "rows": digest(task), "batch_size": settings.batch_size,
        "device": bench.encoder.device.type, "torch": torch.__version__, "oscine": __version__,
    }  # fmt: skip


def tune_clips(bench: Bench, task: Task, name: str) -> Findings:
    """What `judge_clips` does, of an encoder that learns."""
    (plan, states), settings = begin(bench, task), bench.settings
    judgement = plan.judge(states, bench.bar.task("fine-tune"))
    evidence = weigh(judgement, task, progress=bench.bar.task("intervals of the scores"))
    found = judgement.as_dict() | {"evidence": evidence.as_dict()}

    def rest() -> None:
        write_predictions(bench.folder / PREDICTIONS, predictions_of(judgement, task))
        bench.bar.say("the probe for oscine predict, and the report")
        progress = bench.bar.task("fine-tune on all folds") if len(task.parts) > 1 else silent
        fitted = plan.kept(judgement, bench.head, states, progress, name)
        if is_own(settings):  # it has not learnt from them: of a split, the judged encoder would have to learn anew
            needs = fitted.probe.needs
            negatives = make_negatives(fitted.encoder, needs, task, plan.seconds, plan.batch_size, bench.fit.seed)
            fitted = raise_thresholds(fitted, negatives, task, judgement)
        save_probe(fitted, bench.folder / PROBE)
        encoder = plan.first_encoder(states)
        features = Encoding(encoder, task, judgement.probes[0].needs, plan.seconds, plan.batch_size, "float32")
        title = bench.title(name)
        page = portray(title, settings.as_dict(), encoder, task, judgement, features, evidence, seconds=plan.seconds)
        show_false_positives(page, fitted)
        write_report(page, bench.folder / REPORT)
        states.end()

    return Findings(found, {name: found}, rest)


def tune_shots(bench: Bench, task: Task, name: str) -> Findings:
    """What `judge_shots` does, of an encoder that learns anew from every draw."""
    (plan, states), progress, draws = begin(bench, task), bench.bar.task("fine-tune"), count(1)

    def judge_draw(drawn: Task) -> Judgement:
        return replace(plan, task=drawn).judge(states, progress, f"draw-{next(draws)}-", keep=False)

    found = curve_findings(bench, task, name, judge_draw)

    def rest() -> None:
        found.rest()
        states.end()

    return found._replace(rest=rest)
