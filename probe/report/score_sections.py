"""Write the parts of a page that say how good a probe is, and which settings a search chose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch.nn.functional import one_hot

from oscine.probe.fit.few_shot import Shots
from oscine.probe.fit.judge import Judgement
from oscine.probe.fit.search import Search
from oscine.probe.report.figures import (
    CLASS_HEADER,
    DRAWN_CLASSES,
    TABLE_ROWS,
    class_rows,
    confused_pairs,
    confusion,
    confusion_figure,
    few_shot_figure,
    interval_rows,
    reliability_figure,
    search_figure,
    share_text,
)
from oscine.probe.report.html import Report
from oscine.probe.results.intervals import PLAIN, Assessment
from oscine.probe.results.predictions import predictions_of
from oscine.probe.tasks.class_names import listed
from oscine.probe.tasks.task import Task

SHOWN_TRIALS = 10  # in the table
DRAWN_SCALINGS = (PLAIN, "platt")  # a temperature alone differs little from the latter


def show_scores(page: Report, task: Task, judgement: Judgement, assessment: Assessment) -> None:
    """Show what was judged, the scores with their intervals, and part by part."""
    judged = sum(len(part.test) for part in task.parts)
    page.paragraph(
        f"{len(task.rows)} clips, {len(task.classes)} classes"
        f"{'' if task.single_label else ', any number of them a clip'}; {judged} clips are judged in {len(task.parts)} "
        f"part{'s' if len(task.parts) > 1 else ''}, each by a probe that has not learnt from them."
    )
    page.heading("Scores")
    if assessment.intervals:
        page.table(["score", "value", "95 % interval"], interval_rows(assessment.intervals))
        page.paragraph(
            f"Intervals are from {assessment.method}. They say how far other clips of "
            "the same kind might have moved the score; not how far another seed, other labels or other places would."
        )
    names = ("accuracy", "map", "cmap", "auroc", "f1")
    rows = []
    for name in names:
        values = [getattr(metrics, name) for metrics in judgement.metrics]
        rows.append([name, *(share_text(value) for value in (*values, *judgement.summary(name)))])
    page.table(["score", *judgement.parts, "mean", "spread"], rows)
    for sentence in assessment.omitted.values():
        page.paragraph(f"Left out: {sentence}.")


def show_reliability(page: Report, assessment: Assessment) -> None:
    """Show calibration errors of all scalings, and the curves of some."""
    page.heading("Do the probabilities hold?")
    drawn = {name: found for name, found in assessment.calibration.items() if name in DRAWN_SCALINGS}
    rows = [
        [name, *(share_text(value) for value in (found.pooled.error, found.pooled.signed, found.marginal.error))]
        for name, found in assessment.calibration.items()
    ]
    page.table(["probabilities", "error", "signed", "mean over classes"], rows)
    page.figure(
        reliability_figure(drawn),
        "All pairs of clip and class, by the probability that they were given: below the dashed line the probe is too sure, "
        "above it not sure enough. The bars count the pairs of each bin, on a logarithmic scale: where there are few, the "
        "point above says little. Most pairs are easy noes, which make the error of all pairs together small.",
    )


def show_classes(page: Report, task: Task, judgement: Judgement) -> None:
    """Show every class with its support, and what each was taken for where a clip has one."""
    predictions = predictions_of(judgement, task)
    targets, found = predictions.targets.long(), predictions.probabilities
    single, classes = task.single_label, task.classes
    predicted = one_hot(found.argmax(1), len(classes)) if single else found > 0.5
    page.heading("Classes")
    rows = class_rows(found, targets, predicted, classes)
    silent = [name for name, support in zip(classes, targets.sum(0).tolist()) if not support]
    shown = f" The lowest {TABLE_ROWS} of {len(rows)} are shown." if len(rows) > TABLE_ROWS else ""
    page.paragraph(
        "All judged clips together, the lowest average precision first: over parts, whose probes differ, so that the mean "
        "need not be the score above. F1 is of "
        + ("the best class of each clip" if single else "probabilities above a half")
        + f". With few clips a figure may be luck.{shown}"
        + (f" Without positives among the judged clips, and so left out: {listed(silent, 20)}." if silent else "")
    )
    page.table(CLASS_HEADER, rows[:TABLE_ROWS])
    if not single:
        return
    page.heading("Confusion")
    counts = confusion(found.argmax(1), targets.argmax(1), len(classes))
    if len(classes) <= DRAWN_CLASSES:
        page.figure(
            confusion_figure(counts, classes),
            "Each row is a class, each column what its clips were taken for, as a share of the class; errors lie off the "
            "diagonal.",
        )
    else:
        page.paragraph("The most frequent errors; the share is of the class's clips.")
        page.table(["class", "taken for", "clips", "share"], confused_pairs(counts, classes))


def show_few_shot(page: Report, shots: Mapping[str, Sequence[Shots]], metric: str) -> None:
    """Show a curve for each name."""
    page.heading("Few clips to learn from")
    curves = {name: {one.shots: one.summary(metric) for one in some} for name, some in shots.items()}
    page.figure(
        few_shot_figure(curves, metric),
        f"{metric} after learning from so few clips a class, mean and spread over draws of them.",
    )


def show_search(page: Report, searches: Mapping[str, Search]) -> None:
    """Show the value of every trial, and the settings of the best. searches: of a task's parts, by their names."""
    metric, names = next((search.metric, list(search.space)) for search in searches.values())
    tried = [one for search in searches.values() for one in search.tried]
    failed = sum(one.failure is not None for one in tried)
    page.heading("Which settings")
    page.figure(
        search_figure(searches),
        f"{metric} on the clips to choose by, trial by trial, and the best so far. "
        + (f"{failed} of {len(tried)} failed, at the crosses. " if failed else "")
        + "The best value flatters: it was chosen for being so high. The scores above do not know it.",
    )
    if len(searches) > 1:
        page.paragraph(
            "Each part has chosen by itself, among clips that it is not judged by. The probe that is kept has the median of "
            "each setting."
        )
    rows = []
    for part, search in searches.items():
        order = sorted(range(len(search.tried)), key=lambda number: -(search.tried[number].value or -math.inf))
        for number in order[: max(1, SHOWN_TRIALS // len(searches))]:
            one = search.tried[number]
            value = "–" if one.value is None else f"{one.value:.3f}"
            rows.append([part, str(number), *(f"{one.settings[name]:.3g}" for name in names), value])
    page.table(["", "trial", *names, metric], rows)
