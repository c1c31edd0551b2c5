"""The part of a run's page that says what a search has tried, and what it chose."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oscine.probe.report import COLOURS, MUTED, Report, plain_axes
from oscine.probe.search import Search

SHOWN = 10  # trials in the table


def show_search(page: Report, search: Search, parts: int) -> None:
    """The value of every trial, and the settings of the best. parts: of the task."""
    page.heading("Which settings")
    failed = sum(one.failure is not None for one in search.tried)
    page.figure(
        search_figure(search),
        f"{search.metric} on the clips to choose by, trial by trial, and the best so far. "
        + (f"{failed} of {len(search.tried)} failed, at the crosses. " if failed else "")
        + "The best value flatters: it was chosen for being so high. The scores above do not know it.",
    )
    if parts > 1:
        page.paragraph(
            "The judged clips of each fold are among those that others choose by. What a few numbers can carry over is "
            "little; with a split that has clips of its own to choose by it is nothing."
        )
    names = list(search.space)
    order = sorted(range(len(search.tried)), key=lambda number: -(search.tried[number].value or 0.0))
    rows = [
        [
            str(number),
            *(f"{one.settings[name]:.3g}" for name in names),
            "–" if one.value is None else f"{one.value:.3f}",
        ]
        for number, one in ((number, search.tried[number]) for number in order[:SHOWN])
    ]
    page.table(["trial", *names, search.metric], rows)


def search_figure(search: Search) -> Figure:
    """A point a trial over their numbers, a line for the best so far, crosses at the bottom for what failed."""
    figure = Figure(figsize=(6.6, 3.4), layout="constrained")
    axes = figure.subplots()
    numbers = np.arange(len(search.tried))
    values = np.array([np.nan if one.value is None else one.value for one in search.tried])
    failed = np.isnan(values)
    axes.step(numbers, np.fmax.accumulate(values), where="post", color=COLOURS[0], linewidth=1.6, label="best so far")
    axes.plot(numbers, values, "o", color=COLOURS[1], markersize=5, label="a trial")
    axes.plot(numbers[failed], np.full(failed.sum(), np.nanmin(values)), "x", color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(search.metric)
    plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    return figure
