"""Read a labelled table as a task: targets of every clip, and which rows are learnt from to judge which others."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from oscine.models.audio.channels import MIX
from oscine.models.audio.load import load_audio
from oscine.models.audio.tar import Tars
from oscine.models.audio.workers import read_in_processes
from oscine.models.errors import OscineError
from oscine.probe.tasks import splits
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.splits import LabelledTable, Split, read_labelled, set_aside

NO_ROWS = torch.empty(0, dtype=torch.long)

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """Row numbers to learn from, to be judged on, and to choose by (thresholds, scaling): of one fold, or of a split."""

    name: str
    train: Tensor
    test: Tensor
    valid: Tensor = NO_ROWS

    @property
    def all_rows(self) -> Tensor:
        return torch.cat([self.train, self.test, self.valid])


@dataclass(frozen=True)
class Task:
    """Labelled clips. rows has path and, where the table has them, start and end; classes are sorted names.

    targets  [rows] class numbers if every row has one label, else [rows, classes] of 0 and 1; where each frame of a row
             has labels, [rows, time, classes]
    parts    one a fold, each fold being tested on what is learnt from the others; or the one that `split` names
    """

    rows: pd.DataFrame
    classes: list[str]
    targets: Tensor
    parts: list[Part]

    @property
    def kind(self) -> TaskKind:
        return TaskKind.of(self.targets)


def read_task(table: str | Path, folds: int | None = None, group: str | None = None) -> Task:
    """Read a labelled table as a task; other arguments as for `read_labelled`."""
    return as_task(read_labelled(table, folds, group=group))


def as_task(table: LabelledTable) -> Task:
    """Turn a labelled table into a task, in tensors."""
    return Task(table.rows, table.classes, torch.from_numpy(table.targets), as_parts(table.splits))


def as_parts(splits: Iterable[Split]) -> list[Part]:
    return [Part(split.name, *map(torch.from_numpy, split[1:])) for split in splits]


def split_rows(rows: pd.DataFrame, table: str | Path) -> list[Part]:
    """Make the parts that the `fold` or `split` column names."""
    return as_parts(splits.split_rows(rows, table))


def with_validation(task: Task, share: float = 0.2, seed: int = 0) -> Task:
    """Give a task rows to choose by: parts that have none hold out a share of those that they learn from, groups whole."""
    given = [Split(part.name, *(rows.numpy() for rows in part[1:])) for part in task.parts]
    return replace(task, parts=as_parts(set_aside(task.rows, task.targets, given, share=share, seed=seed)))


def multi_hot(rows: Iterable[Sequence[str]], classes: Sequence[str]) -> Tensor:  # [rows, classes]
    """Put 1 where a row has the label of that class; labels that are no class are passed over."""
    return torch.from_numpy(splits.multi_hot(rows, classes))


def as_columns(targets: Tensor, classes: int) -> Tensor:  # [rows, classes] of 0 and 1
    """Give targets of a task a column a class: of class numbers, in a byte each, as `one_hot` takes eight."""
    if TaskKind.of(targets) is not TaskKind.SINGLE:
        return targets
    return torch.zeros(len(targets), classes, dtype=torch.uint8, device=targets.device).scatter_(1, targets[:, None], 1)


class LabelledClips(Dataset[Tensor]):
    """The waveform of every row: from its `start`, or the file's, up to its `end`, of its `channel`; [samples] at most.

    What is shorter stays so: how it is filled up is for the encoder to say. A path may lead into a tar file, such as
    shard.tar.gz/a.ogg.
    """

    def __init__(self, rows: pd.DataFrame, sample_rate: int, seconds: float) -> None:
        self.paths = list(rows["path"])
        self.inside = _inside_tars(self.paths)
        self.starts = rows["start"].fillna(0.0).tolist() if "start" in rows else [0.0] * len(rows)
        ends = rows["end"].tolist() if "end" in rows else [np.nan] * len(rows)
        self.seconds = [
            seconds if np.isnan(end) else min(seconds, end - start)
            for start, end in zip(self.starts, ends, strict=True)
        ]
        self.channels = rows["channel"].tolist() if "channel" in rows else None  # numbers from 1, 0 is the mean of all
        self.sample_rate, self.samples = sample_rate, round(seconds * sample_rate)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        path, part = self.paths[row], (self.sample_rate, self.starts[row], self.seconds[row])
        tars, number = self.inside.get(path, (None, 0))
        channel = self.channels[row] if self.channels else 0
        waveform = tars.load(number, *part) if tars else load_audio(path, *part, channel=channel or MIX)
        return waveform[: self.samples]


def warn_of_longer(rows: pd.DataFrame, seconds: float) -> None:
    """Warn of stretches that are longer than a clip; once a process, however often the rows are encoded."""
    if not {"start", "end"} <= {*rows.columns}:
        return
    longer = rows[rows["end"] - rows["start"].fillna(0.0) > seconds + 1e-6]
    if len(longer):
        path, start, end = longer.iloc[0][["path", "start", "end"]]
        _warn_once(
            f"{len(longer)} of {len(rows)} labelled stretches last longer than a clip, such as {start:g} to {end:g} s of "
            f"{path}: their first {seconds:g} s count"
        )


@cache
def _warn_once(text: str) -> None:
    logger.warning(text)


def _inside_tars(paths: Sequence[str]) -> dict[str, tuple[Tars, int]]:
    """List the recordings of the tar files that paths lead into: by path, the tars and the number among them."""
    folders = sorted({os.path.dirname(path) for path in paths})
    found = [Path(name) for name in folders if name.endswith((".tar", ".tar.gz")) and os.path.isfile(name)]
    if not found:
        return {}
    tars = Tars(found)
    return {str(tars.path_of(number)): (tars, number) for number in range(len(tars.names))}


def read_batches(clips: LabelledClips, batch_size: int, workers: int = 0) -> Iterator[list[Tensor]]:
    """Read all waveforms, [samples] at most, in order, by so many processes; leaves the global random state as it is."""
    for batch in read_in_processes(_Batches(clips, batch_size), workers=workers):
        waveforms, lengths = batch
        yield list(waveforms.split(lengths))


class _Batches(Dataset["tuple[Tensor, list[int]] | OscineError"]):
    """Clips in batches, end to end with their lengths, because a worker hands over tensors one by one.

    An error is handed over as it is, where a worker would raise it as the text of its traceback.
    """

    def __init__(self, clips: LabelledClips, batch_size: int) -> None:
        self.clips, self.batch_size = clips, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.clips) / self.batch_size)

    def __getitem__(self, number: int) -> tuple[Tensor, list[int]] | OscineError:
        rows = range(number * self.batch_size, min((number + 1) * self.batch_size, len(self.clips)))
        try:
            clips = [self.clips[row] for row in rows]
        except OscineError as error:
            return error
        return torch.cat(clips), [len(clip) for clip in clips]
