"""Draw what a probe looks at: boxes in spectrograms, and a logit as the sum of what every place adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from oscine.models.encoders.frontends.mel import MelScale
from oscine.probe.report.html import COLOURS, INK, MUTED, WIDE, plain_axes

FRAMED = "#7fe0ff"  # seen on every colour of a spectrogram


class Box(NamedTuple):
    """A stretch of a spectrogram: its first frame and mel band, and the first ones after it."""

    start: int
    low: int
    end: int
    high: int

    def seconds(self, frame_seconds: float) -> tuple[float, float]:
        return self.start * frame_seconds, self.end * frame_seconds

    def around(self, frames: int, bands: int) -> Box:
        """Add as much again on each side, as far as a spectrogram of so many frames and mel bands reaches."""
        wide, high = self.end - self.start, self.high - self.low
        return Box(
            max(0, self.start - wide),
            max(0, self.low - high),
            min(frames, self.end + wide),
            min(bands, self.high + high),
        )


def box_of(cell: int, cells: tuple[int, int], grid: tuple[int, int], patch: tuple[float, float]) -> Box:
    """Return the patch in which a cell lies, which is counted time-major.

    cells, grid: (time, freq) cells of a clip, and its patches, of which there are as many or fewer. patch: frames and mel
    bands that one covers. Of a cell on a grid twice as fine as the patches, this patch makes up nine sixteenths or more; the
    rest is blended in from its neighbours.
    """
    time, freq = divmod(cell, cells[1])
    time, freq = time * grid[0] // cells[0], freq * grid[1] // cells[1]
    return Box(
        round(time * patch[0]), round(freq * patch[1]), round((time + 1) * patch[0]), round((freq + 1) * patch[1])
    )


class Cutout(NamedTuple):
    """A clip [frames, mel], the box in it that excites a prototype, and what is written above; strange: not of the class."""

    spectrogram: Tensor
    box: Box
    title: str
    strange: bool = False


def cutout_figure(prototypes: Mapping[str, Sequence[Cutout]], mel_scale: MelScale) -> Figure:
    """Draw a row a prototype; in it, clip after clip with its box, and beside it the box and its neighbourhood enlarged."""
    most = max(map(len, prototypes.values()))
    figure = Figure(figsize=(7.4, 0.3 + 1.3 * len(prototypes)), layout="constrained")
    rows = figure.subplots(len(prototypes), 2 * most, squeeze=False, width_ratios=[2.1, 1] * most)
    for row, (name, cutouts) in zip(rows, prototypes.items(), strict=True):
        for wide, close in zip(row[2 * len(cutouts) :: 2], row[2 * len(cutouts) + 1 :: 2]):
            wide.set_axis_off()
            close.set_axis_off()
        for wide, close, cutout in zip(row[::2], row[1::2], cutouts):
            _show_cutout(wide, close, cutout, mel_scale)
        row[0].set_ylabel(f"{name}\nkHz", fontsize=8.5, color=INK)
        row[0].tick_params(labelleft=True)
    for axes in rows[-1][::2]:
        axes.set_xlabel("seconds", fontsize=8)
    return figure


def _show_cutout(wide: Any, close: Any, cutout: Cutout, mel_scale: MelScale) -> None:
    spectrogram, box = cutout.spectrogram, cutout.box
    for axes in (wide, close):
        show_spectrogram(axes, spectrogram, mel_scale)
        frame(axes, box, mel_scale)
        axes.tick_params(labelleft=False, labelsize=7.5)
    around = box.around(*spectrogram.shape)
    close.set_xlim(*around.seconds(mel_scale.frame_seconds))
    close.set_ylim(around.low, around.high)
    close.set_xticks([])
    close.set_yticks([])
    (first, last), low, high = box.seconds(mel_scale.frame_seconds), mel_scale.hertz(box.low), mel_scale.hertz(box.high)
    close.set_title(f"{first:.2f}–{last:.2f} s\n{low / 1000:.1f}–{high / 1000:.1f} kHz", fontsize=7.5, color=INK)
    colour = COLOURS[1] if cutout.strange else INK
    wide.set_title(cutout.title, fontsize=7.5, color=colour, loc="left")


class LogitBreakdown(NamedTuple):
    """A logit as a sum.

    bars   name and value of every summand
    heat   [time, freq] what each patch or finer cell has a part in, of all summands that have a place; None if none has
    boxes  of the summands that are marked in the clip, with their labels
    """

    bars: list[tuple[str, float]]
    heat: Tensor | None
    boxes: dict[Box, str]

    @property
    def logit(self) -> float:
        return sum(value for _, value in self.bars)


def breakdown_figure(spectrogram: Tensor, breakdown: LogitBreakdown, mel_scale: MelScale) -> Figure:
    """Draw the clip, where in it the logit comes from, and the sum from the constant to the logit, bar after bar."""
    heat = breakdown.heat
    heights = [1.5, *([1.5] if heat is not None else []), 0.5 + 0.21 * (len(breakdown.bars) + 1)]
    figure = Figure(figsize=(WIDE, 0.7 + sum(heights)), layout="constrained")
    # Apart, so that the long names of summands take no room from the clip.
    ratios = [0.4 + sum(heights[:-1]), 0.3 + heights[-1]]
    clip, below = figure.subfigures(2, 1, squeeze=False, height_ratios=ratios)[:, 0]
    panels = [*clip.subplots(len(heights) - 1, 1, squeeze=False)[:, 0], below.subplots()]
    show_spectrogram(panels[0], spectrogram, mel_scale)
    for box, label in breakdown.boxes.items():
        first, *others = label.split(", ")
        frame(
            panels[0], box, mel_scale, f"{first} +{len(others)}" if len(others) > 1 else label
        )  # what a box has room for
    if heat is not None:
        _show_heat(clip, panels[1], heat, len(spectrogram), mel_scale)
    for axes in panels[:-1]:
        axes.set_ylabel("kHz", fontsize=9)
        axes.tick_params(labelsize=8.5)
    panels[-2].set_xlabel("seconds", fontsize=9)
    _show_sum(panels[-1], breakdown)
    return figure


def _show_heat(figure: SubFigure, axes: Any, heat: Tensor, frames: int, mel_scale: MelScale) -> None:
    limit = max(heat.abs().max().item(), 1e-12)
    extent = (0.0, frames * mel_scale.frame_seconds, 0.0, float(mel_scale.bands))
    image = axes.imshow(
        heat.numpy().T, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    axes.set_yticks(list(mel_scale.ticks()), list(mel_scale.ticks().values()))
    colours = figure.colorbar(image, ax=axes, pad=0.01, aspect=12)
    colours.ax.tick_params(labelsize=8)
    colours.set_label("added", fontsize=8.5)


def _show_sum(axes: Any, breakdown: LogitBreakdown) -> None:
    names, values = zip(*breakdown.bars)
    ends = np.cumsum(values)
    begins = ends - values
    colours = [MUTED, *(COLOURS[3] if value >= 0 else COLOURS[0] for value in values[1:])]
    places = np.arange(len(values))
    axes.barh(places, values, left=begins, color=colours, height=0.7)
    axes.barh(len(values), breakdown.logit, color=INK, height=0.7)
    reach = [0.0, *ends]
    gap = 0.01 * (max(reach) - min(reach))
    axes.set_xlim(min(reach) - 2 * gap, max(reach) + 9 * gap)  # room for the last number
    for place, (begin, end, value) in enumerate(zip(begins, ends, values)):
        axes.text(max(begin, end) + gap, place, f"{value:+.2f}", va="center", fontsize=8, color=INK)
    axes.text(max(breakdown.logit, 0) + gap, len(values), f"{breakdown.logit:.2f}", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(values) + 1), [*names, "= logit"], fontsize=8.5)
    axes.invert_yaxis()
    plain_axes(axes, along="x")
    axes.axvline(0, color=MUTED, linewidth=0.8)


def show_spectrogram(axes: Any, spectrogram: Tensor, mel_scale: MelScale) -> None:
    """Draw a spectrogram [frames, mel] over seconds and kHz."""
    low, high = np.quantile(spectrogram.numpy(), [0.02, 0.995])
    extent = (0.0, len(spectrogram) * mel_scale.frame_seconds, 0.0, float(mel_scale.bands))
    axes.imshow(
        spectrogram.numpy().T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high, extent=extent
    )  # fmt: skip
    axes.set_yticks(list(mel_scale.ticks()), list(mel_scale.ticks().values()))


def frame(axes: Any, box: Box, mel_scale: MelScale, label: str = "") -> None:
    (first, last), height = box.seconds(mel_scale.frame_seconds), box.high - box.low
    edge = Rectangle((first, box.low), last - first, height, fill=False, edgecolor=FRAMED, linewidth=1.4, zorder=3)
    axes.add_patch(edge).set_clip_on(False)  # at the clip's end half of the line lies outside
    if label:
        left = last < 0.9 * axes.get_xlim()[1]  # at the clip's end a label reaches back into it
        place = first + (0.1 if left else 0.9) * (last - first), box.high - 0.15 * height
        dark = [withStroke(linewidth=2, foreground="black")]
        side = "left" if left else "right"
        axes.text(*place, label, color=FRAMED, fontsize=7, weight="bold", va="top", ha=side, path_effects=dark)
