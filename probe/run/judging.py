"""The three ways in which a run judges: by clips, by a few clips a class, and by the moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from oscine.probe.deploy.fitted import FittedProbe, ProbeFit, keep_frames, keep_probe
from oscine.probe.deploy.negatives import background_task, keep_with_negatives, make_negatives
from oscine.probe.deploy.saved import save_probe
from oscine.probe.fit.baselines import ALL_LAYERS
from oscine.probe.fit.few_shot import few_shot_curve
from oscine.probe.fit.frames import judge_frames
from oscine.probe.fit.judge import FeatureSource, Judgement, join_judgements, judge, silent, within
from oscine.probe.report.examples import Judged
from oscine.probe.report.frames_page import JudgedFrames, frames_report
from oscine.probe.report.html import Report, write_report
from oscine.probe.report.mistakes import show_false_positives
from oscine.probe.report.page import probe_report
from oscine.probe.report.score_sections import show_few_shot, show_search
from oscine.probe.results.intervals import assess, assess_frames, judged_recordings
from oscine.probe.results.predictions import predictions_of, write_predictions
from oscine.probe.results.run_files import PREDICTIONS, PROBE, REPORT
from oscine.probe.results.runs import RECORDINGS
from oscine.probe.run.context import RunContext, when_begun
from oscine.probe.run.searching import search_clips, search_facts, search_moments, settled
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.task import Task


class Findings(NamedTuple):
    """What a judgement came to, in JSON; and of it, by the task's name, what a results file takes: mean and std.

    rest: makes what else a run leaves, once its scores are safe.
    """

    scores: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    rest: Callable[[], None]


def judge_clips(run: RunContext, task: Task, name: str) -> Findings:
    """Scores and what stands behind them; then every prediction, the probe that is worth keeping, and a report."""
    seconds, background = run.settings.seconds, run.background
    others = background_task(background, seconds or run.encoder.seconds, len(task.rows)) if background else None
    features = run.features(task, run.maker(task)().needs, seconds)
    run = search_clips(run, features, task)
    settings = run.settings
    layers = run.features(task, ALL_LAYERS, seconds) if settings.layer_scores else None
    judgement = judge_parts(run, features, task)
    evidence = assess(judgement, task, progress=run.bar.task("intervals of the scores"))
    found = judgement.as_dict() | {"evidence": evidence.as_dict()} | search_facts(run)

    def rest() -> None:
        write_predictions(run.folder / PREDICTIONS, predictions_of(judgement, task))
        run.bar.say("the probe for oscine predict, and the report")
        fitted = keep(run, run.fit_of(task, features, name), judgement, others)
        save_probe(fitted, run.folder / PROBE)
        judged = Judged(run.encoder, task, judgement, features, seconds)
        page = probe_report(run.title(name), settings.as_dict(), judged, evidence, layers=layers)
        show_false_positives(page, fitted)
        if run.searched:
            show_search(page, run.searched)
        write_report(page, run.folder / REPORT)

    return Findings(found, {name: found}, rest)


def keep(
    run: RunContext, fit: ProbeFit, judgement: Judgement, background: tuple[Task, tuple[int, ...]] | None
) -> FittedProbe:
    """The probe to keep; of recordings of one's own it knows what no class sounds like, too."""
    settings = run.settings
    if not settings.own:
        return keep_probe(fit, judgement, run.bar.task("fit on all folds") if len(fit.task.parts) > 1 else silent)
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
    """What `judge` makes of the task, each part with the settings that were chosen for it, if any were."""
    progress, device = run.bar.task("fit"), run.device
    scoring, preparing = when_begun(run.bar, "scores"), run.preparing()
    if not run.searched:
        return judge(run.maker(task), features, task, run.settings.fit, progress, device, scoring, preparing)
    found = []
    for number, part in enumerate(task.parts):
        own, alone = settled(run, part), replace(task, parts=[part])
        shown = within(progress, number, len(task.parts))
        found.append(judge(own.maker(alone), features, alone, own.settings.fit, shown, device, scoring, preparing))
    return join_judgements(found)


def judge_shots(run: RunContext, task: Task, name: str) -> Findings:
    """Scores of every draw of a few clips a class, all of them of the same features."""
    make_probe = run.maker(task)
    features = run.features(task, make_probe().needs, run.settings.seconds)
    progress, preparing = run.bar.task("fit"), run.preparing()

    def judge_draw(drawn: Task) -> Judgement:
        return judge(make_probe, features, drawn, run.settings.fit, progress, run.device, preparing=preparing)

    return curve_findings(run, task, name, judge_draw)


def curve_findings(run: RunContext, task: Task, name: str, judge_draw: Callable[[Task], Judgement]) -> Findings:
    """Scores of every draw of a few clips a class; and a picture of how they rise."""
    asked = run.settings.task
    curve = few_shot_curve(task, judge_draw, asked.shots or (), asked.draws)

    def rest() -> None:
        page = Report(run.title(name))
        show_few_shot(page, {run.probe.__name__: curve}, task.kind.metric)
        write_report(page, run.folder / REPORT)

    points = [point.as_dict() for point in curve]
    return Findings({"few_shot": points}, {f"{name}_{point['shots']}_shot": point for point in points}, rest)


def judge_moments(run: RunContext, scenes: FrameTask, name: str) -> Findings:
    """Scores of the events found in whole recordings; then the probe, with what was chosen for it, and a report."""
    features = run.features(scenes.whole, run.maker(scenes.whole)().needs, scenes.seconds)
    run = search_moments(run, features, scenes)
    make_probe = run.maker(scenes.whole)
    judgement = judge_frames(
        make_probe, features, scenes, run.settings.fit, run.bar.task("fit"), run.device,
        run.encoder.step_seconds, run.preparing(),
    )  # fmt: skip
    recordings = judged_recordings(judgement, scenes)
    evidence = assess_frames(recordings)
    found = judgement.as_dict() | {"evidence": evidence.as_dict()} | search_facts(run)
    found[RECORDINGS] = recordings.to_dict("records")

    def rest() -> None:
        save_probe(keep_frames(judgement, run.encoder, run.settings.head, task=scenes, name=name), run.folder / PROBE)
        judged = JudgedFrames(run.encoder, scenes, judgement)
        page = frames_report(run.title(name), run.settings.as_dict(), judged, evidence)
        if run.searched:
            show_search(page, run.searched)
        write_report(page, run.folder / REPORT)

    return Findings(found, {name: found}, rest)
