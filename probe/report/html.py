"""Write one self-contained HTML page: tables, pictures, sounds. No script, nothing fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from html import escape
from pathlib import Path
from typing import Any

import soundfile
from matplotlib.figure import Figure
from torch import Tensor

from oscine.models.files import write_whole

INK, MUTED, GRID = "#22313f", "#55626e", "#d5dce2"
WIDE = 6.6  # inches of a figure that is as wide as the text
PIXELS = 100  # of the page an inch of a figure: the widest fill it, and letters are as large in all
# Told apart by the colour-blind too, 4.5 to 1 on white.
COLOURS = ("#1b6ca8", "#b85c00", "#2f7d4f", "#a23b72", "#7a6650")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
{style}</style></head><body><main>
{body}
</main></body></html>
"""
STYLE = Path(__file__).with_name("report.css")


class Report:
    """Collects headings, paragraphs, tables, figures and sounds in reading order."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.parts = [f"<h1>{escape(title)}</h1>"]

    def heading(self, text: str, level: int = 2) -> None:
        self.parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        self.parts.append(f"<p>{escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], lines: bool = False) -> None:
        """Add numbers under their header; the first column is text. lines: the last one is text of any length, too."""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        kind = ' class="lines"' if lines else ""
        self.parts.append(
            f'<div class="scroll" tabindex="0"><table{kind}><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def figure(self, figure: Figure, caption: str, format: str = "png", alt: str | None = None) -> None:
        """Add a figure. format: png, or webp, in which spectrograms take a seventh. alt: if not the caption."""
        picture = io.BytesIO()
        figure.savefig(picture, format=format, dpi=150, facecolor="none")  # the page has a ground for it
        self.picture(picture.getvalue(), caption, format=format, width=round(PIXELS * figure.get_figwidth()), alt=alt)

    def picture(self, data: bytes, caption: str, *, format: str, width: int, alt: str | None = None) -> None:
        """Add a picture that is drawn already. width: in pixels of the page, where that is as wide."""
        kind = ' class="wide" tabindex="0"' if width >= PIXELS * WIDE * 0.9 else ""
        self.parts.append(
            f'<figure{kind}><img width="{width}" alt="{escape(alt or caption)}" '
            f'src="data:image/{format};base64,{base64.b64encode(data).decode()}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def sound(self, waveform: Tensor, sample_rate: int, name: str) -> None:
        """Add a player for a waveform [samples], as loud as all others. name: for those who do not see the page."""
        kind, data = encode_sound(waveform, sample_rate)
        self.parts.append(
            f'<audio controls preload="none" aria-label="{escape(name)}" '
            f'src="data:{kind};base64,{base64.b64encode(data).decode()}"></audio>'
        )

    @contextmanager
    def _inside(self, opening: str, closing: str) -> Iterator[None]:
        self.parts.append(opening)
        yield
        self.parts.append(closing)

    def folded(self, summary: str) -> AbstractContextManager[None]:
        """Fold away what is added meanwhile, under a line."""
        return self._inside(f"<details><summary>{escape(summary)}</summary>", "</details>")

    def beside(self) -> AbstractContextManager[None]:
        """Put the columns that are added meanwhile, each in `column`, side by side where there is room."""
        return self._inside('<div class="row">', "</div>")

    def column(self) -> AbstractContextManager[None]:
        return self._inside("<div>", "</div>")

    def command(self, text: str) -> None:
        """Add what to type, as it is."""
        self.parts.append(f"<pre><code>{escape(text)}</code></pre>")

    def html(self) -> str:
        style = STYLE.read_text(encoding="utf-8")
        return PAGE.format(title=escape(self.title), body="\n".join(self.parts), style=style)


LOUD = 0.7  # peak of every sound of a page
COMPRESSION = 0.8  # of 1: a minute of birds takes 320 kB


def encode_sound(waveform: Tensor, sample_rate: int) -> tuple[str, bytes]:
    """Encode a waveform [samples] as a small file that browsers play, and its media type: 5 s are about 25 kB.

    MP3, which all of them know; Ogg where the installed libsndfile is too old for it.
    """
    format, kind = ("MP3", "audio/mpeg") if "MP3" in soundfile.available_formats() else ("OGG", "audio/ogg")
    peak = waveform.abs().max().clamp(min=1e-9)
    file = io.BytesIO()
    soundfile.write(file, (waveform * (LOUD / peak)).numpy(), sample_rate, format=format, compression_level=COMPRESSION)
    return kind, file.getvalue()


def write_report(report: Report, path: Path) -> None:
    """Write a page, whole or not at all."""
    write_whole(path, report.html().encode())


def plain_axes(axes: Any, along: str = "y") -> None:
    """Draw no frame, and faint lines across the values, which run `along` x or y."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK)
    axes.grid(axis=along, color=GRID)
    axes.set_axisbelow(True)
