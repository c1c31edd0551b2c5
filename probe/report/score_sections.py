"""Write the parts of a page that say how good a probe is, with their figures, and which settings a search chose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter, StrMethodFormatter
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.text.words import counted
from oscine.probe.fit.few_shot import Shots
from oscine.probe.fit.judge import Judgement
from oscine.probe.fit.search import Search
from oscine.probe.metrics.bootstrap import Interval
from oscine.probe.metrics.calibration import Calibration
from oscine.probe.metrics.metrics import aurocs, average_precisions, f1_scores
from oscine.probe.report.html import COLOURS, INK, MUTED, WIDE, Report, plain_axes
from oscine.probe.results.intervals import PLAIN, Assessment
from oscine.probe.results.predictions import predictions_of
from oscine.probe.tasks.class_names import listed
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Task, as_columns

SHOWN_TRIALS = 10  # in the table
DRAWN_SCALINGS = (PLAIN, "platt")  # a temperature alone differs little from the latter
DRAWN_CLASSES = 60  # of a confusion matrix; with more, its cells are too small to be seen
TABLE_ROWS = 100
CLASS_HEADER = ["class", "clips", "AP", "AUROC", "F1"]


def show_scores(page: Report, task: Task, judgement: Judgement, assessment: Assessment) -> None:
    """Show what was judged, the scores with their intervals, and part by part."""
    judged = sum(len(part.test) for part in task.parts)
    page.paragraph(
        f"{len(task.rows)} clips, {len(task.classes)} classes"
        f"{'' if task.kind is TaskKind.SINGLE else ', any number of them a clip'}; {judged} clips are judged in "
        f"{counted(len(task.parts), 'part')}, each by a probe that has not learnt from them."
    )
    page.heading("Scores")
    if assessment.intervals:
        guessed = guessing(task)
        rows = [[*row, share_text(guessed.get(row[0], math.nan))] for row in interval_rows(assessment.intervals)]
        page.table(["score", "value", "95 % interval", "guess"], rows)
        page.paragraph(
            f"Intervals are from {assessment.method}. They say how far other clips of "
            "the same kind might have moved the score; not how far another seed, other labels or other places would. "
            "A guess is always to say the most frequent class, or to rank clips by lot."
        )
    names = ("accuracy", "map", "cmap", "auroc", "f1")
    rows = []
    for name in names:
        values = [getattr(metrics, name) for metrics in judgement.metrics]
        rows.append([name, *(share_text(value) for value in (*values, *judgement.summary(name)))])
    page.table(["score", *judgement.parts, "mean", "spread"], rows)
    for sentence in assessment.omitted.values():
        page.paragraph(f"Left out: {sentence}.")


def guessing(task: Task) -> dict[str, float]:
    """Return what judged clips score by luck: of accuracy where each has one class, of cmap (about) and auroc."""
    rows = torch.cat([part.test for part in task.parts])
    shares = as_columns(task.targets[rows], len(task.classes)).double().mean(0)
    luck = {"cmap": shares[shares > 0].mean().item(), "auroc": 0.5}
    return luck | ({"accuracy": shares.max().item()} if task.kind is TaskKind.SINGLE else {})


def interval_rows(intervals: Mapping[str, Interval]) -> list[list[str]]:
    """Make rows of a table: score, value, and the interval around it."""
    return [
        [name, share_text(value), f"{share_text(low)} to {share_text(high)}"]
        for name, (value, low, high) in intervals.items()
    ]


def share_text(value: float) -> str:
    """Write a share as tables show it; a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000


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


def reliability_figure(calibrations: Mapping[str, Calibration]) -> Figure:
    """Draw how often what was given a probability is true, all pairs of row and class pooled, and the pairs of a bin."""
    figure = Figure(figsize=(6.6, 5.2), layout="constrained")
    curves, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    curves.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    width = 0.08 / len(calibrations)
    for place, ((name, found), colour) in enumerate(zip(calibrations.items(), cycle(COLOURS))):
        confidence, frequency, rows = (tensor[0].numpy() for tensor in found.pooled_curve)
        met = rows > 0
        label = f"{name}: error {found.pooled.error:.3f}"
        curves.plot(confidence[met], frequency[met], color=colour, marker="o", markersize=5, label=label)
        bins = len(rows) - 1  # the last is a probability of exactly 1
        middles = np.minimum((np.arange(len(rows)) + 0.5) / bins, 1.0) + (place - (len(calibrations) - 1) / 2) * width
        counts.bar(middles, rows, width, color=colour)
    curves.set_ylabel("share that is true")
    curves.set_ylim(-0.03, 1.03)
    counts.set_ylabel("pairs")
    counts.set_yscale("log")
    counts.set_ylim(bottom=0.5)
    counts.yaxis.set_major_locator(LogLocator(numticks=9))
    counts.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    counts.set_xlabel("probability that was given")
    for axes in (curves, counts):
        plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    return figure


def show_classes(page: Report, task: Task, judgement: Judgement) -> None:
    """Show every class with its support, and what each was taken for where a clip has one."""
    predictions = predictions_of(judgement, task)
    targets, found = predictions.targets.long(), predictions.probabilities
    single, classes = task.kind is TaskKind.SINGLE, task.classes
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


def class_rows(probabilities: Tensor, targets: Tensor, predicted: Tensor, classes: Sequence[str]) -> list[list[str]]:
    """Make rows of a table: classes with positives, the lowest average precision first. Tensors are [rows, classes]."""
    precisions, areas = average_precisions(probabilities, targets), aurocs(probabilities, targets)
    f1, support = f1_scores(predicted, targets), targets.sum(0).long()
    order: list[int] = [label for label in precisions.argsort(stable=True).tolist() if support[label]]
    figures = (precisions.tolist(), areas.tolist(), f1.tolist())
    return [
        [classes[label], f"{support[label]}", *(share_text(scores[label]) for scores in figures)] for label in order
    ]


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:  # [class, predicted class]
    """Count how often a class was taken for which. predicted, labels: class numbers [rows]."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def confusion_figure(counts: Tensor, classes: Sequence[str]) -> Figure:
    """Draw each row, a class, as shares of its clips; counts [class, predicted class] as `confusion` gives them."""
    side = min(WIDE, 2.2 + (0.36 if len(classes) <= 15 else 0.13) * len(classes))
    figure = Figure(figsize=(min(WIDE, side + 0.9), side), layout="constrained")
    axes = figure.subplots()
    shares = (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 9 if len(classes) <= 30 else 6.5
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=size)
    axes.set_yticks(range(len(classes)), classes, fontsize=size)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_color(MUTED)
    if len(classes) <= 15:
        for row, column in np.argwhere(shares > 0):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column, row, str(counts[row, column].item()), ha="center", va="center", color=colour, fontsize=size
            )
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the class", format=PercentFormatter(1.0))
    return figure


def confused_pairs(counts: Tensor, classes: Sequence[str], most: int = 30) -> list[list[str]]:
    """Make rows of a table: class, what it was taken for, how often, and the share of the class; the most frequent first."""
    errors = counts.clone().fill_diagonal_(0)
    totals = counts.sum(1)
    rows = []
    for place in errors.flatten().argsort(descending=True, stable=True)[:most].tolist():
        label, taken_for = divmod(place, len(classes))
        times = errors[label, taken_for].item()
        if times:
            rows.append([classes[label], classes[taken_for], str(times), f"{times / totals[label].item():.0%}"])
    return rows


def show_few_shot(page: Report, shots: Mapping[str, Sequence[Shots]], metric: str) -> None:
    """Show a curve for each name."""
    page.heading("Few clips to learn from")
    curves = {name: {one.shots: one.summary(metric) for one in some} for name, some in shots.items()}
    page.figure(
        few_shot_figure(curves, metric),
        f"{metric} after learning from so few clips a class, mean and spread over draws of them.",
    )


def few_shot_figure(curves: Mapping[str, Mapping[int, tuple[float, float]]], metric: str) -> Figure:
    """Draw a line over the clips a class to learn from, for each name. curves: shots to mean and spread over draws."""
    figure = Figure(figsize=(6.6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for (name, curve), colour in zip(curves.items(), cycle(COLOURS)):
        shots = sorted(curve)
        mean, spread = np.array([curve[number] for number in shots]).T
        axes.errorbar(shots, mean, spread, color=colour, marker="o", markersize=4, capsize=3, label=name)
    every = sorted({number for curve in curves.values() for number in curve})
    axes.set_xticks(every, [str(number) for number in every])
    axes.minorticks_off()
    axes.set_xlabel("clips a class to learn from")
    axes.set_ylabel(metric)
    plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    return figure


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


def search_figure(searches: Mapping[str, Search]) -> Figure:
    """Draw a point a trial, a line for the best so far of each part, crosses at the bottom for what failed."""
    figure = Figure(figsize=(6.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for (part, search), colour in zip(searches.items(), cycle(COLOURS)):
        numbers = np.arange(len(search.tried))
        values = np.array([np.nan if one.value is None else one.value for one in search.tried])
        failed = np.isnan(values)
        axes.step(numbers, np.fmax.accumulate(values), where="post", color=colour, linewidth=1.6, label=part)
        axes.plot(numbers, values, "o", color=colour, markersize=5)
        axes.plot(numbers[failed], np.full(failed.sum(), np.nanmin(values)), "x", color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(next(iter(searches.values())).metric)
    plain_axes(axes)
    if len(searches) > 1:
        figure.legend(loc="outside upper left", ncols=5, frameon=False, fontsize=10)
    return figure
