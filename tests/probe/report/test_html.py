"""A report is one page that needs nothing else, shows every number it was given and takes no label for markup."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image

from oscine.probe.report.figures import gate_figure, health_figure, loss_figure
from oscine.probe.report.html import COLOURS, INK, MUTED, STYLE, Report, encode_sound, write_report


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


def test_sounds_are_small_play_equally_loud_and_are_not_fetched_before_they_are_played() -> None:
    time = torch.arange(5 * 32_000) / 32_000
    tone = torch.sin(2 * torch.pi * 440 * time)
    page = Report("sounds")
    page.sound(0.001 * tone, 32_000, 'a "faint" tone')
    (player,) = [attributes for tag, attributes in Page(page.html()).tags if tag == "audio"]
    assert player["preload"] == "none"
    assert player["aria-label"] == 'a "faint" tone'
    assert "controls" in player
    kind, _, data = (player["src"] or "").partition(";base64,")
    assert kind == "data:audio/mpeg"
    sound = base64.b64decode(data)
    assert len(sound) < 80_000
    decoded, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 32_000
    assert np.abs(decoded).max() == pytest.approx(0.7, abs=0.1)
    assert encode_sound(torch.zeros(100), 32_000)[1], "silence is no division by zero"


def test_what_is_folded_and_what_stands_side_by_side_is_closed_again() -> None:
    page = Report("parts")
    with page.folded("more <of it>"):
        page.paragraph("inside")
    with page.beside(), page.column():
        page.paragraph("left")
    page.command("oscine --table <a>")
    assert page.html().count("<details>") == page.html().count("</details>") == 1
    assert page.html().count("<div") == page.html().count("</div>") == 2
    shown = Page(page.html())
    assert shown.of("summary") == ["more <of it>"]
    assert shown.of("code") == ["oscine --table <a>"]


def luminance(colour: str) -> float:
    """Relative, as WCAG 2 defines it."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_text_has_a_contrast_of_four_and_a_half_in_light_and_dark() -> None:
    style = STYLE.read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media (prefers-color-scheme: dark)")
    )
    assert light.keys() == dark.keys() >= {"ink", "ground", "muted", "accent", "good", "bad"}
    for colours in (light, dark):
        for name in ("ink", "muted", "accent", "good", "bad"):
            assert contrast(colours[name], colours["ground"]) >= 4.5, name
        assert contrast(colours["ink"], colours["line"]) >= 4.5, "commands stand on it"
        for name in (INK, MUTED):
            assert contrast(name, colours["card"]) >= 4.5, "pictures are drawn in it"
    assert all(contrast(colour, "#ffffff") >= 4.5 for colour in COLOURS)


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


STD, RANK = "health/feature_std", "health/feature_rank"


def test_health_is_drawn_against_what_a_collapsing_encoder_has() -> None:
    steps = pd.Index([0, 5, 10], name="step")
    curves = {
        "mae": pd.DataFrame(
            {"health/feature_std": [2.0, np.nan, 1.0], "health/feature_rank": [30.0, np.nan, 9.0]}, index=steps
        ),
        "bat": pd.DataFrame(
            {"health/feature_std": [4.0, 1.0, 1.0], "health/feature_rank": [20.0, 5.0, 4.0]}, index=steps
        ),
    }
    figure = drawn(health_figure(curves, {"feature_std": 0.02, "feature_rank": 1.2}))
    spread, rank = figure.axes
    assert spread.lines[0].get_xydata().tolist() == [[0, 1.0], [10, 0.5]]  # type: ignore[union-attr]
    assert rank.lines[1].get_xydata().tolist() == [[0, 20.0], [5, 5.0], [10, 4.0]]  # type: ignore[union-attr]
    assert [axes.lines[2].get_ydata()[0] for axes in (spread, rank)] == [0.02, 1.2]  # type: ignore[index]
    assert len({line.get_linestyle() for line in spread.lines}) == 3, "told apart without colours"


@pytest.mark.parametrize("encoders", [1, 2, 7])
def test_every_encoder_has_a_bar_for_every_layer(encoders: int) -> None:
    gates = {f"encoder {number}": np.array([[0.2, 0.3, 0.5], [0.4, 0.1, 0.5]]) for number in range(encoders)}
    figure = drawn(gate_figure(gates))
    (axes,), (legend,) = figure.axes, figure.legends
    heights = [patch.get_height() for patch in axes.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx([0.3, 0.2, 0.5] * encoders)
    assert [text.get_text() for text in legend.get_texts()] == list(gates)
    assert axes.lines[0].get_ydata()[0] == pytest.approx(1 / 3)  # type: ignore[index]
