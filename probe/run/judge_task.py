"""Judge the task of a run: by clips, by a few clips a class, or by frames; of a frozen encoder, or of one that learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import torch

from oscine import __version__
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.progress import show_nothing
from oscine.probe.deploy.fitted_probe import FittedProbe, ProbeFit, keep_frames, keep_probe
from oscine.probe.deploy.negatives import background_task, keep_with_negatives, make_negatives, raise_thresholds
from oscine.probe.deploy.saved_probe import save_probe
from oscine.probe.features.encoding import Encoding
from oscine.probe.finetune.finetune import FineTuning
from oscine.probe.finetune.run_states import TuningStates
from oscine.probe.fit.baselines import ALL_LAYERS
from oscine.probe.fit.few_shot import few_shot_curve
from oscine.probe.fit.frames import judge_frames
from oscine.probe.fit.judge import FeatureSource, Judgement, join_judgements, judge, within
from oscine.probe.report.examples import Judged
from oscine.probe.report.frames_page import JudgedFrames, frames_report
from oscine.probe.report.html import Report, write_report
from oscine.probe.report.mistakes import show_false_positives
from oscine.probe.report.page import probe_report, show_settings
from oscine.probe.report.score_sections import show_few_shot, show_search
from oscine.probe.results.intervals import assess, assess_frames, judged_recordings
from oscine.probe.results.predictions import predictions_of, write_predictions
from oscine.probe.results.run_files import PREDICTIONS, PROBE, REPORT, STATES
from oscine.probe.results.runs import RECORDINGS
from oscine.probe.run.context import RunContext, when_begun
from oscine.probe.run.searching import search_clips, search_facts, search_frames, with_chosen
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.open import hash_rows
from oscine.probe.tasks.task import Task

Final = tuple[FittedProbe, Judged]  # the probe to keep, and what was judged


class Findings(NamedTuple):
    """Scores of a run, in JSON; and of them, by the task's name, what a results file takes: mean and std.

    rest: makes what else a run leaves, once its scores are safe.
    """

    scores: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    rest: Callable[[], None]


def judge_clips(run: RunContext, task: Task, name: str) -> Findings:
    """Judge a probe of a frozen encoder by clips; then leave predictions, the probe that is worth keeping, a report."""
    seconds, background = run.settings.seconds, run.background
    others = background_task(background, seconds or run.encoder.seconds, len(task.rows)) if background else None
    features = run.features(task, run.maker(task)().needs, seconds)
    run = search_clips(run, features, task)
    layers = run.features(task, ALL_LAYERS, seconds) if run.settings.layer_scores else None

    judgement = judge_parts(run, features, task)
    fit = ProbeFit(
        run.maker(task), run.settings.head, run.encoder, features, task, run.settings.fit, seconds, run.device, name,
        run.preparing(),
    )  # fmt: skip

    def final() -> Final:
        fitted = fit_final_probe(run, fit, judgement, others)
        return fitted, Judged(run.encoder, task, judgement, features, seconds)

    return clip_findings(run, task, name, judgement=judgement, final=final, layers=layers)


def fit_final_probe(
    run: RunContext, fit: ProbeFit, judgement: Judgement, background: tuple[Task, tuple[int, ...]] | None
) -> FittedProbe:
    """Fit or choose the probe to keep; of recordings of one's own it knows what no class sounds like, too."""
    if not run.settings.own:
        return keep_probe(fit, judgement, run.bar.task("fit on all folds") if len(fit.task.parts) > 1 else show_nothing)
    needs = fit.make_probe().needs
    negatives = make_negatives(
        fit.encoder, needs, fit.task, seconds=fit.seconds, batch_size=run.batch_size, seed=fit.settings.seed
    )
    if background:
        others, recordings = background
        source = run.encoded(others, needs, fit.seconds)
        negatives = replace(negatives, background=source, recordings=recordings)
    return keep_with_negatives(fit, judgement, negatives, run.bar.task("fit with silence and noise"))


def judge_parts(run: RunContext, features: FeatureSource, task: Task) -> Judgement:
    """Judge a task as `judge` does, each part with the settings that were chosen for it, if any were."""
    progress, device = run.bar.task("fit"), run.device
    scoring, preparing = when_begun(run.bar, "scores"), run.preparing()
    if not run.searched:
        return judge(run.maker(task), features, task, run.settings.fit, progress, device, scoring, preparing)
    found = []
    for number, part in enumerate(task.parts):
        own, alone = with_chosen(run, run.searched[part.name].chosen), replace(task, parts=[part])
        shown = within(progress, number, len(task.parts))
        found.append(judge(own.maker(alone), features, alone, own.settings.fit, shown, device, scoring, preparing))
    return join_judgements(found)


def tune_clips(run: RunContext, task: Task, name: str) -> Findings:
    """Do what `judge_clips` does, with an encoder that learns."""
    plan, states = begin_tuning(run, task)
    judgement = plan.judge(states, run.bar.task("fine-tune"))

    def final() -> Final:
        progress = run.bar.task("fine-tune on all folds") if len(task.parts) > 1 else show_nothing
        fitted = plan.final_probe(judgement, run.settings.head, states, progress=progress, name=name)
        if run.settings.own:  # it has not learnt from them: of a split, the judged encoder would have to learn anew
            negatives = make_negatives(
                fitted.encoder, fitted.probe.needs, task,
                seconds=plan.seconds, batch_size=plan.batch_size, seed=plan.fit.seed,
            )  # fmt: skip
            fitted = raise_thresholds(fitted, negatives, task=task, judgement=judgement)
        encoder, needs = plan.first_encoder(states), judgement.probes[0].needs
        features = Encoding(encoder, task, needs, plan.seconds, plan.batch_size, "float32")
        return fitted, Judged(encoder, task, judgement, features, plan.seconds)

    return ending_states(clip_findings(run, task, name, judgement=judgement, final=final), states)


def clip_findings(
    run: RunContext,
    task: Task,
    name: str,
    *,
    judgement: Judgement,
    final: Callable[[], Final],
    layers: FeatureSource | None = None,
) -> Findings:
    """Put the scores of clips together with what stands behind them. layers: features of all of them, for the report."""
    evidence = assess(judgement, task, progress=run.bar.task("intervals of the scores"))
    found = judgement.as_dict() | {"evidence": evidence.as_dict()} | search_facts(run)

    def rest() -> None:
        write_predictions(run.folder / PREDICTIONS, predictions_of(judgement, task))
        run.bar.say("the probe for oscine predict, and the report")
        fitted, judged = final()
        save_probe(fitted, run.folder / PROBE)
        page = probe_report(run.title(name), judged, evidence, layers=layers, finetuned=run.settings.finetune)
        show_false_positives(page, fitted)
        end_report(page, run)

    return Findings(found, {name: found}, rest)


def end_report(page: Report, run: RunContext) -> None:
    """Add to a page which settings a search chose, those of the run and its command, and write it."""
    if run.searched:
        show_search(page, run.searched)
    show_settings(page, run.settings.as_dict(), run.command)
    write_report(page, run.folder / REPORT)


def begin_tuning(run: RunContext, task: Task) -> tuple[FineTuning, TuningStates]:
    """Return what a run fine-tunes, and the states that it keeps; what cannot be is refused before either."""
    settings = run.settings
    plan = FineTuning(
        run.maker(task), run.encoder, task, settings.fit, settings.tuning, settings.seconds, run.batch_size,
        settings.workers,
    )  # fmt: skip
    written = settings.as_dict()
    sections = {name: written[name] for name in ("task", "head", "fit", "tuning")}
    changing = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    changing.pop("tuning.save_every")
    changing |= {
        "encoder": settings.encoder, "weights": fingerprint(run.encoder), "probe": settings.probe,
        "seconds": settings.seconds, "rows": hash_rows(task), "batch_size": run.batch_size,
        "device": run.encoder.device.type, "torch": torch.__version__, "oscine": __version__,
    }  # fmt: skip
    return plan, TuningStates(run.folder / STATES, changing, settings.resume, settings.overwrite)


def ending_states(found: Findings, states: TuningStates) -> Findings:
    """Return findings whose rest also removes the states of a fine-tuning, with which nobody goes on any more."""

    def rest() -> None:
        found.rest()
        states.end()

    return found._replace(rest=rest)


def judge_shots(run: RunContext, task: Task, name: str) -> Findings:
    """Score every draw of a few clips a class, all of them by the same features."""
    make_probe = run.maker(task)
    features = run.features(task, make_probe().needs, run.settings.seconds)
    progress, preparing = run.bar.task("fit"), run.preparing()

    def judge_draw(drawn: Task) -> Judgement:
        return judge(make_probe, features, drawn, run.settings.fit, progress, run.device, preparing=preparing)

    return curve_findings(run, task, name, judge_draw)


def tune_shots(run: RunContext, task: Task, name: str) -> Findings:
    """Do what `judge_shots` does, with an encoder that learns anew from every draw."""
    (plan, states), progress, draws = begin_tuning(run, task), run.bar.task("fine-tune"), count(1)

    def judge_draw(drawn: Task) -> Judgement:
        return replace(plan, task=drawn).judge(states, progress, f"draw-{next(draws)}-", keep=False)

    return ending_states(curve_findings(run, task, name, judge_draw), states)


def curve_findings(run: RunContext, task: Task, name: str, judge_draw: Callable[[Task], Judgement]) -> Findings:
    """Judge every draw of a few clips a class, and put their scores together with a picture of how they rise."""
    asked = run.settings.task
    curve = few_shot_curve(task, judge_draw, asked.shots or (), asked.draws)

    def rest() -> None:
        page = Report(run.title(name))
        show_few_shot(page, {run.probe.__name__: curve}, task.kind.metric)
        end_report(page, run)

    points = [point.as_dict() for point in curve]
    return Findings({"few_shot": points}, {f"{name}_{point['shots']}_shot": point for point in points}, rest)


def judge_recordings(run: RunContext, scenes: FrameTask, name: str) -> Findings:
    """Score the events found in whole recordings; then leave the probe, with what was chosen for it, and a report."""
    features = run.features(scenes.whole, run.maker(scenes.whole)().needs, scenes.seconds)
    run = search_frames(run, features, scenes)
    make_probe = run.maker(scenes.whole)
    judgement = judge_frames(
        make_probe, features, scenes, run.settings.fit, progress=run.bar.task("fit"), device=run.device,
        hop=run.encoder.step_seconds, preparing=run.preparing(),
    )  # fmt: skip
    recordings = judged_recordings(judgement, scenes)
    evidence = assess_frames(recordings)
    found = judgement.as_dict() | {"evidence": evidence.as_dict()} | search_facts(run)
    found[RECORDINGS] = recordings.to_dict("records")

    def rest() -> None:
        save_probe(keep_frames(judgement, run.encoder, run.settings.head, task=scenes, name=name), run.folder / PROBE)
        judged = JudgedFrames(run.encoder, scenes, judgement)
        end_report(frames_report(run.title(name), judged, evidence), run)

    return Findings(found, {name: found}, rest)
