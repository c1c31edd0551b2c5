"""Where in a clip a patch lies: frames and mel bands."""

from __future__ import annotations

from typing import NamedTuple

from oscine.models.encoders.frontends.mel import MELS, PATCH


class Box(NamedTuple):
    """A stretch of a spectrogram: its first frame and mel band, and the first ones after it."""

    start: int
    low: int
    end: int
    high: int

    def seconds(self, frame_seconds: float) -> tuple[float, float]:
        return self.start * frame_seconds, self.end * frame_seconds

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
