"""The part of a run's page that says what a search has tried, and what it chose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oscine.probe.fit.search import Search
from oscine.probe.report.html import COLOURS, MUTED, Report, plain_axes

SHOWN = 10  # trials in the table


def show_search(page: Report, searches: Mapping[str, Search]) -> None:
    """The value of every trial, and the settings of the best. searches: of a task's parts, by their names."""
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
        for number in order[: max(1, SHOWN // len(searches))]:
            one = search.tried[number]
            value = "–" if one.value is None else f"{one.value:.3f}"
            rows.append([part, str(number), *(f"{one.settings[name]:.3g}" for name in names), value])
    page.table(["", "trial", *names, metric], rows)


def search_figure(searches: Mapping[str, Search]) -> Figure:
    """A point a trial over their numbers, a line for the best so far of each part, crosses at the bottom for what failed."""
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
