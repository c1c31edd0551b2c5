"""A labelled table as a task: what is asked of every clip, and which rows may be learnt from to answer which others."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from oscine.models.audio import load_audio, one_thread
from oscine.models.errors import OscineError
from oscine.models.recordings import read_table
from oscine.models.tars import Tars
from oscine.probe.groups import check_groups, hold_out

NO_ROWS = torch.empty(0, dtype=torch.long)

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """Row numbers to learn from, to be judged on, and to choose by (thresholds, scaling): of one fold, or of a split."""

    name: str
    train: Tensor
    test: Tensor
    valid: Tensor = NO_ROWS


@dataclass(frozen=True)
class Task:
    """Labelled clips. rows has path and, where the table has them, start and end; classes are sorted names.

    targets  [rows] class numbers if every row has one label, else [rows, classes] of 0 and 1
    parts    one a fold, each fold being tested on what is learnt from the others; or the one that `split` names
    """

    rows: pd.DataFrame
    classes: list[str]
    targets: Tensor
    parts: list[Part]

    @property
    def single_label(self) -> bool:
        return self.targets.ndim == 1


def read_task(table: str | Path) -> Task:
    """Read a labelled table (see `read_table`) with a `fold` or a `split` column as a task."""
    rows = read_table(table)
    classes = sorted({label for labels in rows["labels"] for label in labels})
    if len(classes) < 2:
        raise OscineError(
            f"{table} knows one label only, {classes[0]!r}; a probe needs at least two classes to tell apart"
        )
    targets = multi_hot(rows["labels"], classes)
    if (rows["labels"].str.len() == 1).all():
        targets = targets.argmax(1)
    parts = split_rows(rows, table)
    check_groups(rows, parts, table)
    return Task(rows, classes, targets, parts)


def split_rows(rows: pd.DataFrame, table: str | Path) -> list[Part]:
    """The parts that the table's `fold` or `split` column makes."""
    if "fold" in rows and "split" in rows:
        raise OscineError(f"{table} has both a 'fold' and a 'split' column; keep the one that is to be tested on")
    if "fold" in rows:
        folds = sorted(rows["fold"].unique())
        if len(folds) < 2:
            raise OscineError(f"{table} has one fold only, {folds[0]}; at least two are needed to test on unseen rows")
        return [Part(f"fold {fold}", where(rows["fold"] != fold), where(rows["fold"] == fold)) for fold in folds]
    if "split" in rows:
        train, test = where(rows["split"] == "train"), where(rows["split"] == "test")
        if not len(train) or not len(test):
            found = ", ".join(map(repr, sorted(rows["split"].unique())))
            raise OscineError(
                f"{table} has the splits {found}; expected 'train' and 'test', and 'valid' if you have it (others are left "
                "aside)"
            )
        return [Part("test", train, test, where(rows["split"] == "valid"))]
    raise OscineError(f"{table} has neither a 'fold' nor a 'split' column; one must say which rows are tested on")


def with_validation(task: Task, share: float = 0.2, seed: int = 0) -> Task:
    """The task with rows to choose by: parts that have none hold out a share of those that they learn from, groups whole."""
    if not 0 < share <= 0.5:
        raise OscineError(f"{share:g} of the rows to choose by, expected more than 0 and at most a half; 0.2 is usual")
    parts = []
    for part in task.parts:
        if not len(part.valid):
            train, valid = hold_out(task.rows, task.targets, part.train, share, seed)
            part = part._replace(train=train, valid=valid)
        parts.append(part)
    return replace(task, parts=parts)


def multi_hot(rows: Iterable[Sequence[str]], classes: Sequence[str]) -> Tensor:  # [rows, classes]
    """1 where a row has the label of that class; labels that are no class are passed over."""
    number = {name: index for index, name in enumerate(classes)}
    numbers = [[number[label] for label in labels if label in number] for labels in rows]
    targets = torch.zeros(len(numbers), len(classes))
    for row, found in enumerate(numbers):
        targets[row, found] = 1
    return targets


def where(condition: pd.Series) -> Tensor:
    return torch.from_numpy(np.flatnonzero(condition.to_numpy()))


class LabelledClips(Dataset[Tensor]):
    """The waveform of every row: from its `start`, or the file's, up to its `end`; [samples] at most.

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
        self.sample_rate, self.samples = sample_rate, round(seconds * sample_rate)
        longer = sum(end - start > seconds + 1e-6 for start, end in zip(self.starts, ends, strict=True))
        if longer:
            logger.warning(
                "%d of %d labelled stretches last longer than a clip: their first %g s count",
                longer,
                len(rows),
                seconds,
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        path, part = self.paths[row], (self.sample_rate, self.starts[row], self.seconds[row])
        tars, number = self.inside.get(path, (None, 0))
        waveform = tars.load(number, *part) if tars else load_audio(path, *part)
        return waveform[: self.samples]


def _inside_tars(paths: Sequence[str]) -> dict[str, tuple[Tars, int]]:
    """The recordings of the tar files that paths lead into, by their own paths: which number of which tars each is."""
    folders = sorted({os.path.dirname(path) for path in paths})
    found = [Path(name) for name in folders if name.endswith((".tar", ".tar.gz")) and os.path.isfile(name)]
    if not found:
        return {}
    tars = Tars(found)
    return {str(tars.place(number)): (tars, number) for number in range(len(tars.names))}


def read_batches(clips: LabelledClips, batch_size: int, workers: int = 0) -> Iterator[list[Tensor]]:
    """All waveforms, [samples] at most, in order, read by so many processes; leaves the global random state as it is."""
    for batch in read_all(_Batches(clips, batch_size), workers=workers):
        waveforms, lengths = batch
        yield list(waveforms.split(lengths))


def read_all(items: Dataset[Any], order: Iterable[Any] | None = None, workers: int = 0) -> Iterator[Any]:
    """Items one by one, read by so many processes, in an order; leaves the global random state as it is.

    An item that is an error of ours is raised here: a worker would raise it as the text of its traceback.
    """
    loader = DataLoader(
        items,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        worker_init_fn=one_thread,
        generator=torch.Generator(),
    )
    for item in loader:
        if isinstance(item, OscineError):
            raise item
        yield item


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
