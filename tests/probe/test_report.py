"""A report is one page that needs nothing else, shows every number it was given and takes no label for markup."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from oscine.probe.report import Report, gate_figure, loss_figure, reconstruction_figure, write_report


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text of every cell, heading and paragraph."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data))

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


HEADER = ["features", "linear", "{convex} gated"]
ROWS = [["bat <b>tiny</b>", "54.2 ± 3.1", "–"], ["owls & wrens", "60.0 ± 0.0", '61.5 "±" 2.0']]


@pytest.fixture
def report() -> Report:
    made = Report("owls & <wrens>")
    made.heading("A table of 2 < 3 rows")
    made.paragraph("<script>alert('no')</script> {braces} stay")
    made.table(HEADER, ROWS)
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    made.figure(figure, 'a "line" <of> two points')
    return made


def test_a_page_shows_what_it_was_given_and_takes_no_text_for_markup(report: Report) -> None:
    page = Page(report.html())
    assert page.of("title") == page.of("h1") == ["owls & <wrens>"]
    assert page.of("h2") == ["A table of 2 < 3 rows"]
    assert page.of("p") == ["<script>alert('no')</script> {braces} stay"]
    assert page.of("th") == HEADER
    assert page.of("td") == [cell for row in ROWS for cell in row]
    assert page.of("figcaption") == ['a "line" <of> two points']
    assert not {"b", "script", "wrens", "of"} & {tag for tag, _ in page.tags}


def test_a_page_needs_nothing_else(report: Report) -> None:
    html = report.html()
    sources = [
        value or ""
        for _, attributes in Page(html).tags
        for name, value in attributes.items()
        if name in ("src", "href")
    ]
    assert len(sources) == 1
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in html
    assert "@import" not in html
    picture = Image.open(io.BytesIO(base64.b64decode(sources[0].partition(",")[2])))
    assert picture.size == (300, 150)


def test_a_report_is_written_as_utf8(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes().decode("utf-8") == report.html()


def drawn(figure: Figure) -> Figure:
    """The figure, after it has been drawn into a picture once."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_the_loss_of_every_run_has_a_panel_with_a_line_a_term() -> None:
    steps = pd.Index([0, 10, 20], name="step")
    curves = {
        "bird_mae": pd.DataFrame({"loss": [1.0, 0.5, 0.4], "lr-AdamW": [0.0, 1e-3, 1e-3]}, index=steps),
        "bat": pd.DataFrame(
            {"loss": [2.0, np.nan, 1.0], "loss/local": [1.0, 0.9, 0.8], "loss/global": [1.0, 0.4, 0.2]}, index=steps
        ),
    }
    one, several = drawn(loss_figure(curves)).axes
    assert one.get_title(loc="left") == "bird_mae"
    assert [line.get_label() for line in one.lines] == ["loss"]
    assert one.get_legend() is None
    assert [line.get_label() for line in several.lines] == ["loss", "loss/local", "loss/global"]
    assert several.lines[0].get_xydata().tolist() == [[0, 2.0], [20, 1.0]]  # type: ignore[union-attr]
    assert several.get_legend() is not None


def test_a_reconstruction_shows_what_was_not_seen_as_empty() -> None:
    spectrogram = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    seen = spectrogram.clone()
    seen[16:48] = torch.nan
    figure = drawn(reconstruction_figure(spectrogram, seen, spectrogram + 1, 5.0))
    images = [axes.images[0] for axes in figure.axes]
    pixels: list[np.ndarray] = [np.ma.asarray(image.get_array()) for image in images]
    assert [shown.shape for shown in pixels] == [(32, 64)] * 3
    assert [np.ma.getmaskarray(shown).sum() for shown in pixels] == [0, 32 * 32, 0]
    assert len({image.get_clim() for image in images}) == 1, "all three share one scale of colours"
    assert all(tuple(image.get_extent()) == (0, 5, 0, 32) and image.origin == "lower" for image in images)


@pytest.mark.parametrize("encoders", [1, 2, 7])
def test_every_encoder_has_a_bar_for_every_layer(encoders: int) -> None:
    gates = {f"encoder {number}": np.array([[0.2, 0.3, 0.5], [0.4, 0.1, 0.5]]) for number in range(encoders)}
    figure = drawn(gate_figure(gates))
    (axes,), (legend,) = figure.axes, figure.legends
    heights = [patch.get_height() for patch in axes.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx([0.3, 0.2, 0.5] * encoders)
    assert [text.get_text() for text in legend.get_texts()] == list(gates)
    assert axes.lines[0].get_ydata()[0] == pytest.approx(1 / 3)  # type: ignore[index]
