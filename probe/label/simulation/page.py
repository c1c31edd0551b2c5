"""Write the page of a simulation: what each strategy would have saved, its curves, who wins, what encoders change."""

from __future__ import annotations

from dataclasses import asdict
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oscine.probe.label.simulation.settings import RANDOM
from oscine.probe.label.simulation.summary import Simulation
from oscine.probe.label.simulation.words import (
    NEARLY,
    called,
    gain_texts,
    p_text,
    protocol_text,
    reached_text,
    verdict,
)
from oscine.probe.report.html import COLOURS, INK, MUTED, WIDE, Report, plain_axes
from oscine.probe.report.page import show_settings
from oscine.probe.report.score_sections import share_text

ACROSS = 3  # panels beside each other
METRICS = {"balanced_accuracy": "Balanced accuracy", "cmap": "Macro average precision (cmap)"}


def simulation_page(found: Simulation, command: str = "") -> Report:
    """Make the page of a simulation. command: that made it, as it is typed; "" from Python."""
    page = Report(f"What strategies would have saved on {found.name}")
    for encoder in found.encoders:
        page.paragraph(verdict(found, encoder))
    page.paragraph(protocol_text(found))
    for encoder, model in found.encoders.items():
        page.heading(f"{encoder}: {model}" if model != encoder else encoder)
        _show_standings(page, found, encoder)
        page.figure(
            curves_figure(found, encoder),
            f"{METRICS[found.metric]} over labels, mean over seeds; the band is its standard deviation. Grey in every "
            f"panel: random clips from the {found.baseline} initial set. Dotted: what all labels give.",
        )
        _show_wins(page, found, encoder)
        _show_details(page, found, encoder)
    _show_encoders(page, found)
    show_settings(page, asdict(found.settings), command)
    return page


def _show_standings(page: Report, found: Simulation, encoder: str) -> None:
    rows = []
    for one in found.standings[encoder]:
        ratio = "–" if np.isnan(one.ratio) else f"{one.ratio:.2f}"
        area = share_text(float(one.areas.mean()))
        rows.append([called(one), area, *gain_texts(found, one), reached_text(one.reached), ratio])
    page.table(["strategy", "area", "gain", "95 % interval", f"labels to {NEARLY}", "of random's"], rows)
    page.paragraph(
        f"Labels to {NEARLY} of what all labels give ({found.all_labels(encoder).mean():.3f}) are medians over "
        "seeds; not reached: by half of them or more."
    )


def _show_wins(page: Report, found: Simulation, encoder: str) -> None:
    if len(found.strategies) < 2:
        return
    wins = found.wins(encoder)
    with page.folded("Who is above whom"):
        page.table(
            ["share of points above", *found.strategies],
            [[name, *map(share_text, row)] for name, row in zip(found.strategies, wins.shares.tolist(), strict=True)],
        )
        pairs = wins.ties[~np.eye(len(wins.ties), dtype=bool)]
        page.paragraph(
            "Of all points after the first, of the same seed and initial set: how often the strategy of the row is above "
            f"that of the column; a tie is half. {pairs.mean():.1%} of all comparisons are ties."
        )


def _show_details(page: Report, found: Simulation, encoder: str) -> None:
    bought = ["labels bought", "of the rarest class", "seconds a batch"]
    rows = [
        [
            called(one), p_text(one.gain), share_text(spread(one.areas)), share_text(one.first), share_text(one.final),
            share_text(float(one.by_cycle.mean())), f"{one.positives:.1f}", f"{one.rarest:.1f}", f"{one.seconds:.3f}",
        ]
        for one in found.standings[encoder]
    ]  # fmt: skip
    names = [name for name in next(iter(found.runs.values())).scores if name != found.metric]
    others = [[called(one), *(share_text(found.last(one, name)) for name in names)] for one in found.standings[encoder]]
    with page.folded("Chance, first and last scores, what was bought, time"):
        page.table(["strategy", "p", "spread of area", "first", "last", "area by batch", *bought], rows)
        page.paragraph(
            "p: how often flipped signs of the seeds' gains give a mean as far from 0. Spread: the standard deviation over "
            "seeds, of which folds make a part."
        )
        page.table(["last score", *names], others)


def spread(values: np.ndarray) -> float:
    """Return the standard deviation over seeds; NaN of one."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _show_encoders(page: Report, found: Simulation) -> None:
    if len(found.encoders) < 2:
        return
    page.heading("What encoders change")
    initial, rows = [name for name in found.initial_sets if name != found.baseline], []
    for encoder in found.encoders:
        gains = [f"{found.standing(encoder, name, RANDOM).gain.mean:+.3f}" for name in initial]
        area = float(found.standing(encoder, found.baseline, RANDOM).areas.mean())
        rows.append([encoder, share_text(float(found.all_labels(encoder).mean())), share_text(area), *gains])
    header = ["encoder", "all labels", "area of random clips", *(f"gain of first clips by {name}" for name in initial)]
    page.table(header, rows)
    if len(found.encoders) < 3:
        page.paragraph("How the ranks of encoders go together needs three of them, better five.")
        return
    page.table(
        ["rank correlation with what all labels give", "of encoders"],
        [
            [name, "–" if np.isnan(value) else f"{value:+.2f}"]
            for name, value in found.rank_correlations().items()
        ],
    )  # fmt: skip
    page.paragraph(f"Over {len(found.encoders)} encoders: few, so that chance alone makes large correlations.")


def curves_figure(found: Simulation, encoder: str) -> Figure:
    """Draw a panel a strategy: its curve from each initial set, beside random clips."""
    names = [name for name in found.strategies if name != RANDOM]
    if len(found.initial_sets) > 1 or not names:
        names.append(RANDOM)  # from the other initial sets
    down = -(-len(names) // ACROSS)
    figure = Figure(figsize=(WIDE, 0.6 + 1.9 * down), layout="constrained")
    panels = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(panels, names):
        axes.axhline(found.all_labels(encoder).mean(), color=MUTED, linewidth=1, linestyle=":")
        _draw(axes, found, (encoder, found.baseline, RANDOM), MUTED, "--", "random clips")
        for initial_set, colour, style in zip(found.initial_sets, cycle(COLOURS), cycle(("-", "-.", (0, (4, 1))))):
            if (initial_set, name) != (found.baseline, RANDOM):
                _draw(axes, found, (encoder, initial_set, name), colour, style, f"from {initial_set}")
        axes.set_title(name, loc="left", fontsize=9, color=INK)
        axes.tick_params(labelsize=8)
        plain_axes(axes)
    for axes in panels[max(0, len(names) - ACROSS) : len(names)]:
        axes.tick_params(labelbottom=True)  # the last of its column
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("labels", fontsize=9, color=INK)
    handles = {text: handle for axes in panels for handle, text in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw(axes: Any, found: Simulation, key: tuple[str, str, str], colour: str, style: Any, label: str) -> None:
    labels, scores = found.labels(*key).mean(0), found.scores(*key)
    mean, spread = scores.mean(0), scores.std(0)
    axes.plot(labels, mean, color=colour, linestyle=style, linewidth=1.5, label=label)
    axes.fill_between(labels, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
