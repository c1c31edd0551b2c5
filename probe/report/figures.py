"""Draw how good a probe is: by layer, class and number of clips; and whether its probabilities hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter, StrMethodFormatter
from torch import Tensor

from oscine.probe.fit.search import Search
from oscine.probe.metrics.bootstrap import Interval
from oscine.probe.metrics.calibration import Calibration
from oscine.probe.metrics.metrics import aurocs, average_precisions, f1_scores
from oscine.probe.report.html import COLOURS, INK, MUTED, WIDE, plain_axes

DRAWN_CLASSES = 60  # of a confusion matrix; with more, its cells are too small to be seen
TABLE_ROWS = 100


def layer_figure(scores: Mapping[str, np.ndarray], metric: str) -> Figure:
    """Draw a line over the layers for each name, mean and spread over parts. scores: [part, layer]."""
    figure = Figure(figsize=(WIDE, 3.0), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(scores.items(), cycle(COLOURS)):
        layers, mean, spread = np.arange(values.shape[1]), np.nanmean(values, 0), np.nanstd(values, 0)
        axes.plot(layers, mean, color=colour, marker="o", markersize=4, label=name)
        axes.fill_between(layers, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
        axes.set_xticks(layers)
    axes.set_xlabel("layer")
    axes.set_ylabel(metric)
    plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=len(scores), frameon=False, fontsize=10)
    return figure


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


class Mark(NamedTuple):
    """A run that was measured: points above random weights after so many steps, and their spread over folds.

    paired: the spread is of the gain, fold by fold, else of the accuracy alone. here: whether this very run made it.
    """

    recipe: str
    data: str
    setting: str
    steps: int
    gain: float
    spread: float
    paired: bool
    here: bool = False

    @property
    def series(self) -> tuple[str, str, str, bool]:
        """Runs that may be joined by a line."""
        return self.recipe, self.data, self.setting, self.here


def gain_figure(marks: Sequence[Mark]) -> Figure:
    """Draw points above random weights by steps: full marks of this run, open ones of others; a line joins a setting."""
    figure = Figure(figsize=(WIDE, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=INK, linewidth=1)
    recipes = list(dict.fromkeys(mark.recipe for mark in marks))
    shapes = dict(zip(dict.fromkeys(mark.series for mark in marks), cycle("osD^vP*X")))
    for series, shape in shapes.items():
        own = sorted((mark for mark in marks if mark.series == series), key=lambda mark: mark.steps)
        recipe, data, setting, here = series
        colour = COLOURS[recipes.index(recipe) % len(COLOURS)]
        steps, gains, spreads = ([getattr(mark, name) for mark in own] for name in ("steps", "gain", "spread"))
        axes.errorbar(
            steps, gains, spreads, color=colour, marker=shape, markersize=9 if here else 7, capsize=3, linewidth=1.2,
            linestyle="-" if len(own) > 1 else "", markerfacecolor=colour if here else "white",
            label=f"{'this run: ' if here else ''}{recipe}, {data}, {setting}",
        )  # fmt: skip
    axes.set_xscale("log")
    every = sorted({mark.steps for mark in marks})
    axes.set_xticks(every, [f"{number:,}" for number in every], fontsize=9)
    axes.minorticks_off()
    axes.set_xlabel("steps of pretraining")
    axes.set_ylabel("points above random weights")
    plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=1, frameon=False, fontsize=9)
    return figure


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


CLASS_HEADER = ["class", "clips", "AP", "AUROC", "F1"]


def class_rows(probabilities: Tensor, targets: Tensor, predicted: Tensor, classes: Sequence[str]) -> list[list[str]]:
    """Make rows of a table: classes with positives, the lowest average precision first. Tensors are [rows, classes]."""
    precisions, areas = average_precisions(probabilities, targets), aurocs(probabilities, targets)
    f1, support = f1_scores(predicted, targets), targets.sum(0).long()
    order: list[int] = [label for label in precisions.argsort(stable=True).tolist() if support[label]]
    figures = (precisions.tolist(), areas.tolist(), f1.tolist())
    return [
        [classes[label], f"{support[label]}", *(share_text(scores[label]) for scores in figures)] for label in order
    ]


def interval_rows(intervals: Mapping[str, Interval]) -> list[list[str]]:
    """Make rows of a table: score, value, and the interval around it."""
    return [
        [name, share_text(value), f"{share_text(low)} to {share_text(high)}"]
        for name, (value, low, high) in intervals.items()
    ]


def share_text(value: float) -> str:
    """Write a share as tables show it; a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000
