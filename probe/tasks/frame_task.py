"""DCASE 2016 task 2 as HEAR released it: scenes of two minutes, and events that are to be found in their frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd
import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.audio.load import audio_info
from oscine.models.errors import OscineError
from oscine.models.json_text import read_json
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Part, Task, split_rows

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
        """1 where a frame's left edge lies within an event."""
        return torch.stack([frame_targets(events, frames, hop, len(self.classes)) for events in self.events])

    @property
    def seconds(self) -> float:
        """Of the longest recording."""
        return max(audio_info(path).seconds for path in self.rows["path"])

    @property
    def whole(self) -> Task:
        """Which classes sound in a recording at all, of the same rows."""
        targets = torch.zeros(len(self.rows), len(self.classes))
        for row, events in enumerate(self.events):
            targets[row, [event.label for event in events]] = 1
        return Task(self.rows, self.classes, targets, self.parts)


def dcase2016(folder: str | Path) -> FrameTask:
    """train.json, valid.json, test.json (in milliseconds), labelvocabulary.csv and 48000/SPLIT/ (arXiv 2203.03022).

    A recording without events is kept: nothing is to be found in it.
    """
    folder = Path(folder)
    classes = _read_classes(folder / "labelvocabulary.csv")
    number = {name: index for index, name in enumerate(classes)}
    rows, events = [], []
    for split in ("train", "valid", "test"):
        for name, found in _read_events(folder / f"{split}.json").items():
            path = folder / "48000" / split / name
            strangers = [label for _, _, label in found if label not in number]
            if strangers or not path.is_file():
                wrong = f"{strangers[0]!r} in {name} is no class" if strangers else f"{path} does not exist"
                raise OscineError(f"{folder / f'{split}.json'}: {wrong}; expected the release as it was published")
            rows.append({"path": str(path), "split": split})
            events.append([Event(start / 1000, end / 1000, number[label]) for start, end, label in found])
    table = DataFrame(rows)
    return FrameTask(table, classes, events, split_rows(table, folder))


def _read_classes(path: Path) -> list[str]:
    try:
        table = pd.read_csv(path, dtype={"label": str}, keep_default_na=False)
        return table.sort_values("idx")["label"].tolist()
    except FileNotFoundError:
        raise OscineError(f"no {path}; name the folder of HEAR's release of DCASE 2016 task 2") from None
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or "unknown").splitlines()[0]
        raise OscineError(
            f"{path} has no columns label and idx ({reason}); take the release as it was published"
        ) from None


def _read_events(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """Start and end in milliseconds and the label of every event, by the recording's name."""
    try:
        content = read_json(path, "fetch it again")
    except FileNotFoundError:
        raise OscineError(f"no {path}; name the folder of HEAR's release of DCASE 2016 task 2") from None
    try:
        return {
            name: [(float(event["start"]), float(event["end"]), str(event["label"])) for event in found]
            for name, found in content.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OscineError(
            f"{path} does not list events with start, end and label by recording; fetch it again"
        ) from None


class Event(NamedTuple):
    """A sound of one class in a file; onset and offset in seconds."""

    onset: float
    offset: float
    label: int


def frame_targets(events: Iterable[Event], frames: int, hop: float, classes: int) -> Tensor:  # [frames, classes]
    """1 where a frame's left edge, its number times `hop` seconds, lies within an event, both ends included."""
    edges = torch.arange(frames).double() * hop
    targets = torch.zeros(frames, classes)
    for event in events:
        if not 0 <= event.label < classes:
            raise OscineError(f"an event of class {event.label}, expected 0 to {classes - 1}")
        # A microsecond is less than any annotation means, and more than what rounding does to edges.
        targets[(edges >= event.onset - 1e-6) & (edges <= event.offset + 1e-6), event.label] = 1
    return targets
