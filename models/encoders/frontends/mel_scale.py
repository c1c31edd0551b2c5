"""What a spectrogram's frames and mel bands are in seconds and hertz."""

from __future__ import annotations

import math
from typing import NamedTuple

KILOHERTZ = (0.5, 1, 2, 4, 8)  # that axes show


class Ruler(NamedTuple):
    """Of a spectrogram with a frame every `frame_seconds`, and bands that are even in mel from `lowest` to `highest` Hz.

    The mel scale is 1127 ln(1 + f / 700). Bands are triangles: each reaches from the middle of the one below to that of the
    one above.
    """

    frame_seconds: float
    lowest: float
    highest: float
    bands: int

    def hertz(self, edge: float) -> float:
        """Where band `edge` begins, that is, where its triangle crosses that of the band below."""
        low, step = self._mel()
        return 700.0 * math.expm1(low + (edge + 0.5) * step)

    def edge(self, hertz: float) -> float:
        """The band that begins there; between two of them, in parts."""
        low, step = self._mel()
        return (math.log1p(hertz / 700.0) - low) / step - 0.5

    def ticks(self) -> dict[float, str]:
        """Where an axis of bands has its marks, and the kHz that stand there."""
        return {
            self.edge(1000 * number): f"{number:g}" for number in KILOHERTZ if self.edge(1000 * number) < self.bands
        }

    def _mel(self) -> tuple[float, float]:
        low, high = (math.log1p(hertz / 700.0) for hertz in (self.lowest, self.highest))
        return low, (high - low) / (self.bands + 1)
