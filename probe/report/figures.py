"""Draw curves of encoders: scores and gates by layer, losses and health of pretraining, gains by its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from oscine.probe.report.html import COLOURS, INK, MUTED, WIDE, plain_axes


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


def gate_figure(gates: Mapping[str, np.ndarray]) -> Figure:
    """Draw layer gates, a group of bars an encoder. gates: name to [fold, layer], rows summing to 1."""
    figure = Figure(figsize=(WIDE, 2.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(gates)
    for place, ((name, gate), colour) in enumerate(zip(gates.items(), cycle(COLOURS))):
        layers = np.arange(gate.shape[1])
        offset = (place - (len(gates) - 1) / 2) * width
        axes.bar(layers + offset, gate.mean(0), width, yerr=gate.std(0), color=colour, label=name, error_kw={"lw": 1})
    axes.axhline(1 / gate.shape[1], color=MUTED, linewidth=1, linestyle="--")
    axes.set_xticks(layers, [str(layer) for layer in layers])
    axes.set_xlabel("layer")
    axes.set_ylabel("gate")
    plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)  # not over the bars
    return figure


def loss_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw every term of every run's loss over its steps; one panel a run, since their losses are not comparable."""
    figure = Figure(figsize=(max(4.0, WIDE / 2 * len(curves)), 2.8), layout="constrained")
    for axes, (name, curve) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        terms = [term for term in map(str, curve.columns) if term.startswith("loss")]
        for colour, term in zip(cycle(COLOURS), terms):
            values = curve[term].dropna()
            axes.plot(values.index, values, color=colour, linewidth=1.6, label=term)
        axes.set_title(name, loc="left", fontsize=11, color=INK)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        plain_axes(axes)
        if len(terms) > 1:
            axes.legend(frameon=False, fontsize=9)
    return figure


def health_figure(curves: Mapping[str, pd.DataFrame], least: Mapping[str, float]) -> Figure:
    """Draw what every run has logged of its encoder's health, a panel a figure. least: below which an encoder is collapsing.

    Of `feature_std` the share of what it was at first is shown.
    """
    titles = {
        "feature_std": "spread of features over clips,\nas a share of what it was",
        "feature_rank": "effective rank",
    }
    figure = Figure(figsize=(WIDE, 2.9), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(titles), squeeze=False)[0], titles.items(), strict=True):
        for (run, curve), colour, style in zip(curves.items(), cycle(COLOURS), cycle(("-", "--", ":"))):
            values = curve[f"health/{name}"].dropna()
            shown = values / values.iloc[0] if name == "feature_std" else values
            axes.plot(values.index, shown, color=colour, linestyle=style, linewidth=1.6, label=run)
        axes.axhline(least[name], color=MUTED, linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_xlabel("step")
        plain_axes(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=9)
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
