"""Ask of recordings with events in them which classes sound in each frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.audio.load import audio_info
from oscine.models.errors import OscineError
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Part, Task

HOP = 0.16  # seconds from one step of an encoder's patches to the next: 750 of them in two minutes


@dataclass(frozen=True)
class FrameTask:
    """Recordings with events in them. rows has path and split; validation rows have the split "valid"."""

    rows: DataFrame
    classes: list[str]
    events: list[list[Event]]  # of every row
    parts: list[Part]
    kind: ClassVar = TaskKind.FRAMES

    def targets(self, frames: int, hop: float = HOP) -> Tensor:  # [rows, frames, classes]
        """Put 1 where a frame's left edge lies within an event."""
        return torch.stack([frame_targets(events, frames, hop, len(self.classes)) for events in self.events])

    @property
    def seconds(self) -> float:
        """Return the length of the longest recording."""
        return max(audio_info(path).seconds for path in self.rows["path"])

    @property
    def whole(self) -> Task:
        """Ask of the same rows which classes sound in a recording at all."""
        targets = torch.zeros(len(self.rows), len(self.classes))
        for row, events in enumerate(self.events):
            targets[row, [event.label for event in events]] = 1
        return Task(self.rows, self.classes, targets, self.parts)


class Event(NamedTuple):
    """A sound of one class in a file; onset and offset in seconds."""

    onset: float
    offset: float
    label: int


def frame_targets(events: Iterable[Event], frames: int, hop: float, classes: int) -> Tensor:  # [frames, classes]
    """Put 1 where a frame's left edge, its number times `hop` seconds, lies within an event, both ends included."""
    edges = torch.arange(frames).double() * hop
    targets = torch.zeros(frames, classes)
    for event in events:
        if not 0 <= event.label < classes:
            raise OscineError(f"an event of class {event.label}, expected 0 to {classes - 1}")
        # A microsecond is less than any annotation means, and more than what rounding does to edges.
        targets[(edges >= event.onset - 1e-6) & (edges <= event.offset + 1e-6), event.label] = 1
    return targets
