"""One self-contained HTML page with what a run shows: tables, pictures, plain words. No script, nothing fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

INK, MUTED, GRID = "#22313f", "#7a8793", "#e3e7ea"
PIXELS = 104  # of the page an inch of a figure: the widest fill it, and letters are as large in all
COLOURS = ("#1b6ca8", "#d9822b", "#3a8f5c", "#a23b72", "#7d6b58")  # told apart by the colour-blind too

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.55 system-ui, sans-serif; color: {ink}; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }}
h1 {{ font-size: 1.7rem; margin-bottom: .3rem; }} h2 {{ font-size: 1.2rem; margin: 2.4rem 0 .5rem; }}
p {{ max-width: 46rem; }} figure {{ margin: 1rem 0; }} figcaption {{ color: {muted}; font-size: .9rem; max-width: 46rem; }}
img {{ max-width: 100%; height: auto; }} .scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .8rem; text-align: right; border-bottom: 1px solid {grid}; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }} thead th {{ border-bottom: 2px solid {ink}; }}
</style></head><body>
{body}
</body></html>
"""


class Report:
    """Collects headings, paragraphs, tables and figures in reading order."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.parts = [f"<h1>{escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        self.parts.append(f"<p>{escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self.parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def figure(self, figure: Figure, caption: str, format: str = "png") -> None:
        """format: png, or webp, in which spectrograms take a seventh of that."""
        picture = io.BytesIO()
        figure.savefig(picture, format=format, dpi=150)
        data, width = base64.b64encode(picture.getvalue()).decode(), round(PIXELS * figure.get_figwidth())
        self.parts.append(
            f'<figure><img width="{width}" alt="{escape(caption)}" src="data:image/{format};base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def html(self) -> str:
        body = "\n".join(self.parts)
        return PAGE.format(title=escape(self.title), body=body, ink=INK, muted=MUTED, grid=GRID)


def loss_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Every term of every run's loss over its steps; one panel a run, since their losses are not comparable."""
    figure = Figure(figsize=(4.4 * len(curves), 3.0), layout="constrained")
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


def reconstruction_figure(spectrogram: Tensor, seen: Tensor, reconstruction: Tensor, seconds: float) -> Figure:
    """A clip, what of it the encoder saw (NaN elsewhere), and what the decoder made of that. Each [frames, mel]."""
    figure = Figure(figsize=(8.8, 5.4), layout="constrained")
    low, high = np.quantile(spectrogram.numpy(), [0.02, 0.995])
    panels = {"the clip": spectrogram, "what the encoder sees": seen, "what the decoder draws": reconstruction}
    for axes, (title, image) in zip(figure.subplots(3, 1, sharex=True), panels.items(), strict=True):
        extent = (0.0, seconds, 0.0, image.shape[1])
        axes.set_facecolor("#d5d9dd")
        axes.imshow(image.numpy().T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high, extent=extent)
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        axes.set_ylabel("mel band")
    axes.set_xlabel("seconds")
    return figure


def gate_figure(gates: Mapping[str, np.ndarray]) -> Figure:
    """Layer gates of convex gated probes, a group of bars an encoder. gates: name to [fold, layer], rows summing to 1."""
    figure = Figure(figsize=(8.8, 3.0), layout="constrained")
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


def write_report(report: Report, path: Path) -> None:
    path.write_text(report.html(), encoding="utf-8")


def plain_axes(axes: Any, along: str = "y") -> None:
    """No frame, faint lines across the values, which run `along` x or y."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK)
    axes.grid(axis=along, color=GRID)
    axes.set_axisbelow(True)
