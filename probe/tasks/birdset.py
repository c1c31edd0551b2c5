"""Read BirdSet's eight sets as tasks: learnt from focal recordings, judged on windows of soundscapes (arXiv 2403.10380)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas import DataFrame

from oscine.models.errors import OscineError
from oscine.models.recordings.birdset import CONFIGURATIONS, WINDOW, BirdSet, classes_of, curate, event_window
from oscine.probe.tasks.task import Task, multi_hot, split_rows

SETS = [name for name, splits in CONFIGURATIONS.items() if splits.test_5s]
LENIENT = 20.0  # seconds of the longest recording that few-shot draws choose from

logger = logging.getLogger(__name__)


def birdset(folder: str | Path, name: str, few_shot: bool = False, events: int | None = 5, seed: int = 0) -> Task:
    """Read a set of BirdSet as it lies on the Hub, judged on all its windows of 5 s; cmap, auroc and accuracy are published.

    Learnt from: 5 s around the middle of every event, with all labels of its recording. Published training draws them anew
    every epoch, as near to the event; a store of features holds one.
    folder: of the set, or the one above it. few_shot: learn only from what few-shot draws choose from, see `_lenient`; else
    events: of a recording, for species with more than 500 of them (None is all), and seed: which.
    """
    if name not in SETS:
        raise OscineError(f"no set {name!r} in BirdSet to be judged on; choose from {', '.join(SETS)}")
    folder = Path(folder)
    folder = folder / name if (folder / name).is_dir() else folder
    train, test = BirdSet(folder, "train"), BirdSet(folder, "test_5s")
    if train.configuration != name:
        raise OscineError(f"{folder} holds {train.configuration} of BirdSet, not {name}; name the folder of {name}")
    learnt = _events(train)
    if few_shot:
        learnt = _lenient(learnt, train)
    elif events is not None:
        learnt = learnt.iloc[curate(learnt["row"], train.species(learnt["row"]), events, seed)]
    judged = test.labelled().assign(split="test")
    # A window is named after its soundscape: HSN_001_20150708_061805_000_005.ogg.
    judged["recording"] = judged["path"].str.replace(r"_\d+_\d+\.\w+$", "", regex=True)
    rows = pd.concat([_around_events(learnt, train).assign(split="train"), judged], ignore_index=True)
    classes = classes_of(rows)
    return Task(rows, classes, multi_hot(rows["labels"], classes), split_rows(rows, folder))


def _events(train: BirdSet) -> DataFrame:
    """Read the training rows, with the number of their `row` in the metadata."""
    rows = train.labelled()
    number = {recording: row for row, recording in enumerate(train.numbers.tolist())}
    return rows.assign(row=rows["recording"].map(number))


def _lenient(rows: DataFrame, train: BirdSet) -> DataFrame:
    """Choose events of short recordings of one species, and of no other in the background; none that lies within another.

    As Bird-MAE's few-shot protocol calls lenient (arXiv 2504.12880).
    """
    others = _column(train, "ebird_code_secondary")
    if others is None:
        raise OscineError(f"{train.folder}: the metadata has no column ebird_code_secondary; few-shot draws need it")
    alone = np.array([not len(names or []) for names in others.to_pylist()])
    short = train.recordings.seconds[rows["recording"]] <= LENIENT
    rows = rows[short & alone[rows["row"]] & (rows["labels"].str.len() == 1)]
    pairs = rows.reset_index().merge(rows[["recording", "start", "end"]], on="recording", suffixes=("", "_other"))
    within = pairs[(pairs["start_other"] < pairs["start"]) & (pairs["end"] < pairs["end_other"])]
    return rows.drop(within["index"].unique())


def _around_events(rows: DataFrame, train: BirdSet) -> DataFrame:
    """Cut clips of 5 s instead of events, with the recordist where the metadata has one."""
    lengths = train.recordings.seconds[rows["recording"]]
    unread = np.isnan(lengths)
    if unread.any():
        first = rows["path"].iloc[int(unread.argmax())]
        logger.warning("%d events left out, whose recordings cannot be read, such as in %s", unread.sum(), first)
    rows, lengths = rows[~unread], lengths[~unread]
    windows = [
        event_window(start, end, length, WINDOW) for start, end, length in zip(rows["start"], rows["end"], lengths)
    ]
    begins = np.array([(first + max(first, last - WINDOW)) / 2 for first, last in windows])
    clips = rows.assign(start=begins, end=np.minimum(begins + WINDOW, lengths))
    recordists = _column(train, "recordist")
    if recordists is not None:
        clips["recordist"] = recordists.to_pandas().iloc[rows["row"]].to_numpy()
    return clips.drop(columns=["row", "recording"])


def _column(train: BirdSet, name: str) -> pa.ChunkedArray | None:
    """Read a column of the training metadata; None where a copy has none."""
    path = train.folder / f"{train.configuration}_metadata_train.parquet"
    return pq.read_table(path, columns=[name])[name] if name in pq.read_schema(path).names else None
