"""What clips are cut from: recordings known by their numbers, the spans of them that may be heard, and those in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from oscine.models.audio.channels import EACH, MIX, Channel, missing_channel, one_channel
from oscine.models.audio.load import AudioError, load_audio, read_headers, warn_once
from oscine.models.files import DIGITS

if TYPE_CHECKING:
    from torch import Tensor

# As an array: millions of them are shared by the processes that read, where objects would be copied as they are counted.
STRETCH = np.dtype([("recording", np.int64), ("start", np.float64), ("seconds", np.float64)])


class Span(NamedTuple):
    """A part of a recording that may be heard, in seconds; or an event, `within` so many seconds of its recording."""

    recording: int
    start: float = 0.0
    end: float = float("inf")
    within: float | None = None


class Source(Protocol):
    """Recordings with the numbers 0, 1, 2, ...

    sample_rate   the one that all share, or None
    contents      a hash of what tells their files from others of the same lengths, once `spans` has been read; "" before
    """

    sample_rate: int | None
    contents: str

    def spans(self) -> Iterator[Span | AudioError]:
        """What may be heard, by the recordings' headers; what cannot be read is its error instead."""
        ...

    def name(self, recording: int) -> str:
        """Where it lies, for a person."""
        ...

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        """`load_audio` by number."""
        ...


class Files:
    """A recording a file, or a channel of a file.

    spans: what may be heard of the files; all by default. channel: as `parse_channel` gives it; of each, the recording of a
    file's channel n has the file's number and n - 1 times as many as there are files.
    """

    def __init__(self, paths: Sequence[Path], spans: Sequence[Span] | None = None, channel: Channel = MIX) -> None:
        self.sample_rate: int | None = None
        self.contents = ""
        self.paths = paths
        self.asked = spans
        self.channel = channel

    def spans(self) -> Iterator[Span | AudioError]:
        ends: list[float] = []
        channels: list[int] = []  # that are recordings of their own
        hashed = sha256()
        for path, known in zip(self.paths, read_headers(self.paths)):
            if not isinstance(known, AudioError):
                info, (_, _, stamp) = known  # its time may be another where it was copied to
                hashed.update(stamp.encode())
                wanted = 1 if self.channel == EACH else one_channel(self.channel)
                if missing := missing_channel(wanted, info.channels):
                    known = AudioError(path, missing)
            channels.append(info.channels if self.channel == EACH and not isinstance(known, AudioError) else 1)
            ends.append(-1.0 if isinstance(known, AudioError) else known[0].seconds)
            if isinstance(known, AudioError):
                yield known
                continue
            if info.note:
                warn_once(path, info.note)
        self.contents = hashed.hexdigest()[:DIGITS]
        for recording, start, end, _ in map(Span, range(len(ends))) if self.asked is None else self.asked:
            if start < ends[recording]:
                for before in range(channels[recording]):
                    yield Span(recording + before * len(self.paths), start, min(end, ends[recording]))
            elif ends[recording] >= 0:
                reason = f"lasts {ends[recording]:.3f} s and has no stretch from {start:g} s; mend its row"
                yield AudioError(self.paths[recording], reason)

    def name(self, recording: int) -> str:
        path, channel = self._place(recording)
        return f"{path}, channel {channel}" if self.channel == EACH else str(path)

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        path, channel = self._place(recording)
        return load_audio(path, sample_rate, start, seconds, channel)

    def _place(self, recording: int) -> tuple[Path, Channel]:
        before, number = divmod(recording, len(self.paths))
        return self.paths[number], before + 1 if self.channel == EACH else self.channel


def cut_up(spans: Iterable[Span], seconds: float) -> np.ndarray:
    """Spans in parts of at least one clip's length, where they are that long: an array of STRETCH, in order.

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
