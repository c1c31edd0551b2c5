"""Pictures of a probe that judges by the moment: where in a recording it hears what, and how that hangs on the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from oscine.models.encoders.frontends.mel_scale import Ruler
from oscine.probe.report.cutouts import show_spectrogram
from oscine.probe.report.html import COLOURS, GRID, INK, MUTED, WIDE, plain_axes
from oscine.probe.tasks.frame_task import Event

TRUE, FOUND = COLOURS[2], COLOURS[1]
DRAWN_CLASSES = 16  # of a scene; with more, their lanes are too narrow


class Scene(NamedTuple):
    """A recording and what was made of it.

    spectrogram    [frames, mel]
    probabilities  [time, classes], a step every `hop` seconds
    true, found    events
    """

    spectrogram: Tensor
    probabilities: Tensor
    hop: float
    true: Sequence[Event]
    found: Sequence[Event]


def scene_figure(scene: Scene, classes: Sequence[str], ruler: Ruler, begin: float, end: float) -> Figure:
    """Some seconds of a recording: its spectrogram, each class's probability, and the events, annotated and found."""
    shown = _shown(scene, len(classes), begin, end)
    figure = Figure(figsize=(WIDE, 2.6 + 0.44 * len(shown)), layout="constrained")
    heard, heat, lanes = figure.subplots(3, 1, sharex=True, height_ratios=[1.6, 0.2 * len(shown), 0.24 * len(shown)])
    show_spectrogram(heard, scene.spectrogram, ruler)
    heard.set_ylabel("kHz", fontsize=9)
    image = heat.imshow(
        scene.probabilities[:, shown].numpy().T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest",
        extent=(0.0, len(scene.probabilities) * scene.hop, len(shown) - 0.5, -0.5),
    )  # fmt: skip
    figure.colorbar(image, ax=heat, pad=0.01, aspect=12).set_label("probability", fontsize=8.5)
    for events, colour, offset in ((scene.true, TRUE, -0.4), (scene.found, FOUND, 0.02)):
        _show_events(lanes, events, shown, scene.hop, colour, offset)
    lanes.set_ylim(len(shown) - 0.5, -0.5)
    lanes.hlines(np.arange(len(shown) - 1) + 0.5, begin, end, color=GRID, linewidth=0.8)
    handles = [Patch(color=TRUE, label="annotated"), Patch(color=FOUND, label="found")]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    for axes in (heat, lanes):
        axes.set_yticks(range(len(shown)), [classes[label] for label in shown])
    for axes in (heard, heat, lanes):
        axes.tick_params(labelsize=8.5, colors=INK)
        axes.spines[:].set_color(MUTED)
    lanes.set_xlim(begin, end)
    lanes.set_xlabel("seconds", fontsize=9)
    return figure


def _shown(scene: Scene, classes: int, begin: float, end: float) -> list[int]:
    """All classes if they have room; else those of the stretch's events, then those that are likeliest in it."""
    if classes <= DRAWN_CLASSES:
        return list(range(classes))
    events = [event for event in (*scene.true, *scene.found) if event.offset >= begin and event.onset < end]
    steps = scene.probabilities[int(begin / scene.hop) : max(int(end / scene.hop), 1)]
    likely = steps.amax(0).argsort(descending=True, stable=True).tolist()
    return sorted(list(dict.fromkeys([event.label for event in sorted(events)] + likely))[:DRAWN_CLASSES])


def _show_events(
    axes: Any, events: Sequence[Event], shown: Sequence[int], hop: float, colour: str, offset: float
) -> None:
    """Bars in the lanes of their classes; one of a single step is as long as that."""
    for event in events:
        if event.label in shown:
            length = max(event.offset - event.onset, hop)
            axes.broken_barh([(event.onset, length)], (shown.index(event.label) + offset, 0.38), color=colour)


def busiest(events: Sequence[Event], seconds: float, whole: float) -> tuple[float, float]:
    """Begin and end of the stretch of a recording in which most events begin, the first of such; of `whole` seconds."""
    begins = [min(max(0.0, event.onset - 0.5), max(0.0, whole - seconds)) for event in events] or [0.0]
    begin = max(begins, key=lambda at: (sum(at <= event.onset < at + seconds for event in events), -at))
    return begin, min(begin + seconds, whole)


def threshold_figure(curves: Mapping[str, Sequence[float]], thresholds: Sequence[float], chosen: float) -> Figure:
    """A line over the thresholds for each score, and the threshold that was chosen."""
    figure = Figure(figsize=(6.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(curves.items(), cycle(COLOURS)):
        axes.plot(thresholds, values, color=colour, marker="o", markersize=4, label=name)
    axes.axvline(chosen, color=MUTED, linewidth=1, linestyle="--", label=f"chosen: {chosen:g}")
    axes.set_xlabel("threshold")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.03, 1.03)
    plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure
