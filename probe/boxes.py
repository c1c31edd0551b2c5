"""Where in a recording a patch lies: frames and mel bands, seconds and hertz."""

from __future__ import annotations

import math
from typing import NamedTuple

from oscine.models.encoder import Encoder
from oscine.models.frontend import MELS, BATFrontend
from oscine.models.layers import PATCH

FRAME = 0.01  # seconds from one frame to the next, in every encoder of the zoo
LOWEST = 20.0  # Hz, where Kaldi's bands begin


class Box(NamedTuple):
    """A stretch of a spectrogram: its first frame and mel band, and the first ones after it."""

    start: int
    low: int
    end: int
    high: int

    @property
    def seconds(self) -> tuple[float, float]:
        return self.start * FRAME, self.end * FRAME

    def around(self, frames: int) -> Box:
        """With a patch more on each side, as far as a spectrogram of so many frames reaches."""
        return Box(
            max(0, self.start - PATCH), max(0, self.low - PATCH),
            min(frames, self.end + PATCH), min(MELS, self.high + PATCH),
        )  # fmt: skip


def box_of(cell: int, cells: tuple[int, int], grid: tuple[int, int]) -> Box:
    """The patch in which a cell lies, which is counted time-major.

    cells, grid: (time, freq) cells of a clip, and its patches, of which there are as many or fewer. Of a cell on a grid
    twice as fine as the patches, this patch makes up nine sixteenths or more; the rest is blended in from its neighbours.
    """
    time, freq = divmod(cell, cells[1])
    start, low = time * grid[0] // cells[0] * PATCH, freq * grid[1] // cells[1] * PATCH
    return Box(start, low, start + PATCH, low + PATCH)


class MelScale(NamedTuple):
    """Even in mel from `lowest` to `highest` Hz, as the triangles of every frontend are."""

    lowest: float
    highest: float

    def hertz(self, edge: float) -> float:
        """Where band `edge` begins, that is, where its triangle crosses that of the band below."""
        low, step = self._ruler()
        return 700.0 * math.expm1(low + (edge + 0.5) * step)

    def edge(self, hertz: float) -> float:
        low, step = self._ruler()
        return (math.log1p(hertz / 700.0) - low) / step - 0.5

    def _ruler(self) -> tuple[float, float]:
        low, high = (math.log1p(hertz / 700.0) for hertz in self)
        return low, (high - low) / (MELS + 1)


def mel_scale(encoder: Encoder) -> MelScale:
    """Of the encoder's frontend."""
    return MelScale(0.0 if isinstance(encoder.frontend, BATFrontend) else LOWEST, encoder.sample_rate / 2)
