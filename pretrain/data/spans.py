"""Define what clips are cut from: recordings by number, the spans of them that are used, and their parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from oscine.models.audio.load import AudioError

if TYPE_CHECKING:
    from torch import Tensor

# As an array: millions of them are shared by the processes that read, where objects would be copied as they are counted.
STRETCH = np.dtype([("recording", np.int64), ("start", np.float64), ("seconds", np.float64)])


class Span(NamedTuple):
    """A part of a recording to cut clips from, in seconds; or an event, `within` so many seconds of its recording."""

    recording: int
    start: float = 0.0
    end: float = float("inf")
    within: float | None = None


class RecordingSource(Protocol):
    """Recordings with the numbers 0, 1, 2, ...

    sample_rate   the one that all share, or None
    contents      a hash of what tells their files from others of the same lengths, once `spans` has been read; "" before
    """

    sample_rate: int | None
    contents: str

    def spans(self) -> Iterator[Span | AudioError]:
        """Yield what is used, by the recordings' headers; its error instead where it cannot be read."""
        ...

    def name(self, recording: int) -> str:
        """Say where it lies, for a person."""
        ...

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        """Load audio as `load_audio` does, by number: [samples]."""
        ...


def split_spans(spans: Iterable[Span], seconds: float) -> np.ndarray:
    """Split spans into parts of at least one clip's length, where they are that long: an array of STRETCH, in order.

    An event is one stretch, with what is around it.
    """
    return np.fromiter(_parts(spans, seconds), STRETCH)


def _parts(spans: Iterable[Span], seconds: float) -> Iterator[tuple[int, float, float]]:
    from oscine.models.recordings.birdset import (
        event_window,  # brings pandas, of which whoever lists recordings has no need
    )

    for recording, start, end, within in spans:
        if within is not None:
            start, end = event_window(start, end, within, seconds)
        length = end - start
        parts = max(1, int(length / seconds)) if within is None else 1
        for part in range(parts):
            yield recording, start + part * length / parts, length / parts
