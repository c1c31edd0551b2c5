"""Where in the picture of a clip a patch lies: frames and mel bands."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """A stretch of a spectrogram: its first frame and mel band, and the first ones after it."""

    start: int
    low: int
    end: int
    high: int

    def seconds(self, frame_seconds: float) -> tuple[float, float]:
        return self.start * frame_seconds, self.end * frame_seconds

    def around(self, frames: int, bands: int) -> Box:
        """With as much again on each side, as far as a spectrogram of so many frames and mel bands reaches."""
        wide, high = self.end - self.start, self.high - self.low
        return Box(
            max(0, self.start - wide),
            max(0, self.low - high),
            min(frames, self.end + wide),
            min(bands, self.high + high),
        )


def box_of(cell: int, cells: tuple[int, int], grid: tuple[int, int], patch: tuple[float, float]) -> Box:
    """The patch in which a cell lies, which is counted time-major.

    cells, grid: (time, freq) cells of a clip, and its patches, of which there are as many or fewer. patch: frames and mel
    bands that one covers. Of a cell on a grid twice as fine as the patches, this patch makes up nine sixteenths or more; the
    rest is blended in from its neighbours.
    """
    time, freq = divmod(cell, cells[1])
    time, freq = time * grid[0] // cells[0], freq * grid[1] // cells[1]
    return Box(
        round(time * patch[0]), round(freq * patch[1]), round((time + 1) * patch[0]), round((freq + 1) * patch[1])
    )
