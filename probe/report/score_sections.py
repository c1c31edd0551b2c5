"""The part of a run's page that says how good the probe is: scores, calibration, classes, confusion, few-shot curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn.functional import one_hot

from oscine.probe.fit.few_shot import Shots
from oscine.probe.fit.judge import Judgement
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
    share_text,
)
from oscine.probe.report.html import Report
from oscine.probe.results.intervals import PLAIN, Assessment
from oscine.probe.results.predictions import predictions_of
from oscine.probe.tasks.task import Task

DRAWN_SCALINGS = (PLAIN, "platt")  # a temperature alone differs little from the latter


def show_scores(page: Report, task: Task, judgement: Judgement, evidence: Assessment) -> None:
    """What was judged, the scores with their intervals, and part by part."""
    judged = sum(len(part.test) for part in task.parts)
    page.paragraph(
        f"{len(task.rows)} clips, {len(task.classes)} classes"
        f"{'' if task.single_label else ', any number of them a clip'}; {judged} clips are judged in {len(task.parts)} "
        f"part{'s' if len(task.parts) > 1 else ''}, each by a probe that has not learnt from them."
    )
    page.heading("Scores")
    if evidence.intervals:
        page.table(["score", "value", "95 % interval"], interval_rows(evidence.intervals))
        page.paragraph(
            f"Intervals are from {evidence.method}. They say how far other clips of "
            "the same kind might have moved the score; not how far another seed, other labels or other places would."
        )
    names = ("accuracy", "map", "cmap", "auroc", "f1")
    rows = []
    for name in names:
        values = [getattr(metrics, name) for metrics in judgement.metrics]
        rows.append([name, *(share_text(value) for value in (*values, *judgement.summary(name)))])
    page.table(["score", *judgement.parts, "mean", "spread"], rows)
    for sentence in evidence.omitted.values():
        page.paragraph(f"Left out: {sentence}.")


def show_reliability(page: Report, evidence: Assessment) -> None:
    """Calibration errors of all scalings, and the curves of some."""
    page.heading("Do the probabilities hold?")
    drawn = {name: found for name, found in evidence.calibration.items() if name in DRAWN_SCALINGS}
    rows = [
        [name, *(share_text(value) for value in (found.pooled.error, found.pooled.signed, found.marginal.error))]
        for name, found in evidence.calibration.items()
    ]
    page.table(["probabilities", "error", "signed", "mean over classes"], rows)
    page.figure(
        reliability_figure(drawn),
        "All pairs of clip and class, by the probability that they were given: below the dashed line the probe is too sure, "
        "above it not sure enough. The bars count the pairs of each bin, on a logarithmic scale: where there are few, the "
        "point above says little. Most pairs are easy noes, which make the error of all pairs together small.",
    )


def show_classes(page: Report, task: Task, judgement: Judgement) -> None:
    """Every class with its support, and what each was taken for where a clip has one."""
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
        + (f" Without positives among the judged clips, and so left out: {_listed(silent)}." if silent else "")
    )
    page.table(CLASS_HEADER, rows[:TABLE_ROWS])
    if single:
        _confusion(page, found.argmax(1), targets.argmax(1), classes)


def _confusion(page: Report, predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    page.heading("Confusion")
    counts = confusion(predicted, labels, len(classes))
    if len(classes) <= DRAWN_CLASSES:
        page.figure(
            confusion_figure(counts, classes),
            "Each row is a class, each column what its clips were taken for, as a share of the class; errors lie off the "
            "diagonal.",
        )
    else:
        page.paragraph("The most frequent errors; the share is of the class's clips.")
        page.table(["class", "taken for", "clips", "share"], confused_pairs(counts, classes))


def _listed(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def show_few_shot(page: Report, shots: Mapping[str, Sequence[Shots]], metric: str) -> None:
    """A curve for each name."""
    page.heading("Few clips to learn from")
    curves = {name: {one.shots: one.summary(metric) for one in some} for name, some in shots.items()}
    page.figure(
        few_shot_figure(curves, metric),
        f"{metric} after learning from so few clips a class, mean and spread over draws of them.",
    )
