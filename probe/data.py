"""A labelled table as a task: what is asked of every clip, and which rows may be learnt from to answer which others."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from oscine.models.audio import load_audio, one_thread
from oscine.models.errors import OscineError
from oscine.models.recordings import read_table
from oscine.probe.groups import check_groups

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """Row numbers to learn from and to be judged on, e.g. of one fold."""

    name: str
    train: Tensor
    test: Tensor


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
    number = {name: index for index, name in enumerate(classes)}
    if (rows["labels"].str.len() == 1).all():
        targets = torch.tensor([number[labels[0]] for labels in rows["labels"]])
    else:
        targets = torch.zeros(len(rows), len(classes))
        for row, labels in enumerate(rows["labels"]):
            targets[row, [number[label] for label in labels]] = 1
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
            raise OscineError(f"{table} has the splits {found}; expected 'train' and 'test' (others are left aside)")
        return [Part("test", train, test)]
    raise OscineError(f"{table} has neither a 'fold' nor a 'split' column; one must say which rows are tested on")


def where(condition: pd.Series) -> Tensor:
    return torch.from_numpy(np.flatnonzero(condition.to_numpy()))


class LabelledClips(Dataset[Tensor]):
    """The waveform of every row: from its `start`, or the file's, up to its `end`; [samples] at most.

    What is shorter stays so: how it is filled up is for the encoder to say.
    """

    def __init__(self, rows: pd.DataFrame, sample_rate: int, seconds: float) -> None:
        self.paths = list(rows["path"])
        self.starts = rows["start"].fillna(0.0).tolist() if "start" in rows else [0.0] * len(rows)
        ends = rows["end"].tolist() if "end" in rows else [np.nan] * len(rows)
        self.seconds = [
            seconds if np.isnan(end) else min(seconds, end - start)
            for start, end in zip(self.starts, ends, strict=True)
        ]
        self.sample_rate, self.samples = sample_rate, round(seconds * sample_rate)
        longer = sum(end - start > seconds for start, end in zip(self.starts, ends, strict=True))
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
        return load_audio(self.paths[row], self.sample_rate, self.starts[row], self.seconds[row])[: self.samples]


def read_batches(clips: LabelledClips, batch_size: int, workers: int = 0) -> Iterator[list[Tensor]]:
    """All waveforms, [samples] at most, in order, read by so many processes; leaves the global random state as it is."""
    loader = DataLoader(
        _Batches(clips, batch_size),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=one_thread,
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, OscineError):
            raise batch
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
