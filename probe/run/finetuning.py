"""Runs in which the encoder learns, too."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import torch

from oscine import __version__
from oscine.models.encoders.base.state import fingerprint
from oscine.probe.deploy.negatives import make_negatives, raise_thresholds
from oscine.probe.deploy.saved import save_probe
from oscine.probe.features.encoding import Encoding
from oscine.probe.finetune.finetune import FineTuning
from oscine.probe.finetune.states import TuningStates
from oscine.probe.fit.judge import Judgement, silent
from oscine.probe.report.examples import Judged
from oscine.probe.report.html import write_report
from oscine.probe.report.mistakes import show_false_positives
from oscine.probe.report.page import probe_report
from oscine.probe.results.intervals import assess
from oscine.probe.results.predictions import predictions_of, write_predictions
from oscine.probe.results.run_files import PREDICTIONS, PROBE, REPORT, STATES
from oscine.probe.run.context import RunContext
from oscine.probe.run.judging import Findings, curve_findings
from oscine.probe.tasks.open import hash_rows
from oscine.probe.tasks.task import Task


def begin(run: RunContext, task: Task) -> tuple[FineTuning, TuningStates]:
    """What a run fine-tunes, and the states that it keeps; what cannot be is refused before either."""
    settings = run.settings
    plan = FineTuning(
        run.maker(task), run.encoder, task, run.settings.fit, settings.tuning, settings.seconds,
        run.batch_size, settings.workers,
    )  # fmt: skip
    return plan, TuningStates(run.folder / STATES, facts_of(run, task), settings.resume, settings.overwrite)


def facts_of(run: RunContext, task: Task) -> dict[str, Any]:
    """All that changes a result, by name."""
    settings = run.settings
    written = settings.as_dict()
    sections = {name: written[name] for name in ("task", "head", "fit", "tuning")}
    flat = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    flat.pop("tuning.save_every")
    return flat | {
        "encoder": settings.encoder, "weights": fingerprint(run.encoder), "probe": settings.probe,
        "seconds": settings.seconds, "rows": hash_rows(task), "batch_size": run.batch_size,
        "device": run.encoder.device.type, "torch": torch.__version__, "oscine": __version__,
    }  # fmt: skip


def tune_clips(run: RunContext, task: Task, name: str) -> Findings:
    """What `judge_clips` does, of an encoder that learns."""
    (plan, states), settings = begin(run, task), run.settings
    judgement = plan.judge(states, run.bar.task("fine-tune"))
    evidence = assess(judgement, task, progress=run.bar.task("intervals of the scores"))
    found = judgement.as_dict() | {"evidence": evidence.as_dict()}

    def rest() -> None:
        write_predictions(run.folder / PREDICTIONS, predictions_of(judgement, task))
        run.bar.say("the probe for oscine predict, and the report")
        progress = run.bar.task("fine-tune on all folds") if len(task.parts) > 1 else silent
        fitted = plan.kept(judgement, run.settings.head, states, progress, name)
        if settings.own:  # it has not learnt from them: of a split, the judged encoder would have to learn anew
            needs = fitted.probe.needs
            negatives = make_negatives(
                fitted.encoder, needs, task,
                seconds=plan.seconds, batch_size=plan.batch_size, seed=run.settings.fit.seed,
            )  # fmt: skip
            fitted = raise_thresholds(fitted, negatives, task=task, judgement=judgement)
        save_probe(fitted, run.folder / PROBE)
        encoder = plan.first_encoder(states)
        features = Encoding(encoder, task, judgement.probes[0].needs, plan.seconds, plan.batch_size, "float32")
        judged = Judged(encoder, task, judgement, features, plan.seconds)
        page = probe_report(run.title(name), settings.as_dict(), judged, evidence)
        show_false_positives(page, fitted)
        write_report(page, run.folder / REPORT)
        states.end()

    return Findings(found, {name: found}, rest)


def tune_shots(run: RunContext, task: Task, name: str) -> Findings:
    """What `judge_shots` does, of an encoder that learns anew from every draw."""
    (plan, states), progress, draws = begin(run, task), run.bar.task("fine-tune"), count(1)

    def judge_draw(drawn: Task) -> Judgement:
        return replace(plan, task=drawn).judge(states, progress, f"draw-{next(draws)}-", keep=False)

    found = curve_findings(run, task, name, judge_draw)

    def rest() -> None:
        found.rest()
        states.end()

    return found._replace(rest=rest)
