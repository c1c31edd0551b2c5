"""A folder of recordings with annotations beside them as a task: stretches of a clip's length, and what sounds in each."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame

from oscine.models.audio import AudioInfo, audio_info
from oscine.models.errors import OscineError
from oscine.models.scan import find_recordings
from oscine.models.spreadsheet import read_text
from oscine.probe.annotations import BEGIN, COLUMNS, beside, read_audacity, read_raven
from oscine.probe.class_names import check_names
from oscine.probe.data import Task, multi_hot, split_rows
from oscine.probe.groups import assign_folds

logger = logging.getLogger(__name__)


class Annotated(NamedTuple):
    """Annotations with `COLUMNS`, and the recordings that somebody has listened to, whether they found something or not."""

    annotations: DataFrame
    recordings: dict[str, AudioInfo]


def read_annotated(folder: str | Path, column: str | None = None) -> Annotated:
    """All Raven selection tables and Audacity label tracks (.txt) of a folder, and of the folders below it.

    A recording counts as listened to if a table lies beside it or is about it, be it empty; the others are left out, because
    nobody knows what sounds in them. column: as for `read_raven`.
    """
    folder = Path(folder)
    recordings = find_recordings(folder)
    found, heard = [], set()
    for path in sorted(folder.rglob("*.txt")):
        head = _first_line(path)
        own = beside(path, recordings)
        if BEGIN in head:
            found.append(read_raven(path, recordings, column))
        elif own:
            found.append(read_audacity(path, recordings))
        else:
            logger.warning("%s is no selection table, nor named after a recording beside it; it is left out", path)
            continue
        heard |= {*found[-1]["path"], *([str(own)] if own else [])}
    if not heard:
        raise OscineError(f"no annotations in {folder}; expected Raven or Audacity tables, .txt, beside the recordings")
    known = [str(path) for path in recordings if str(path) in heard]
    if len(known) < len(recordings):
        logger.warning(
            "%d of %d recordings have no annotations and are left out", len(recordings) - len(known), len(recordings)
        )
    filled = [table for table in found if len(table)]
    annotations = pd.concat(filled, ignore_index=True) if filled else DataFrame(columns=COLUMNS)
    return Annotated(annotations, {path: audio_info(path) for path in known})


def _first_line(path: Path) -> str:
    """Empty where the file is no text: it may be no table of annotations at all."""
    try:
        return read_text(path)[0].partition("\n")[0]
    except OscineError:
        return ""


def cut_clips(
    annotated: Annotated,
    seconds: float,
    hop: float | None = None,
    overlap: float = 0.25,
    unsure: Collection[str] = (),
) -> DataFrame:
    """Stretches of `seconds` every `hop` (by default as long) as rows with path, start, end, labels; labels may be empty.

    overlap: seconds of an annotation, or half of a short one, that must lie in a stretch to label it: without a hop, each
    labels one at least. unsure: labels that mean that somebody could not tell, such as "?"; stretches with one are left out
    rather than taken for silent.
    """
    of_file = dict(list(annotated.annotations.groupby("path")))
    rows = []
    for path, info in annotated.recordings.items():
        begins = np.arange(0, max(info.seconds - 1e-6, 1e-6), hop or seconds)
        begins = begins[: 1 + int(np.searchsorted(begins + seconds, info.seconds - 1e-6))]  # the first to reach the end
        events = of_file.get(path)
        for start in begins.tolist():
            end = min(start + seconds, info.seconds)
            labels = [] if events is None else _labels(events, start, end, overlap)
            if not set(labels) & set(unsure):
                rows.append({"path": path, "start": start, "end": end, "labels": labels})
    return DataFrame(rows, columns=["path", "start", "end", "labels"])


def annotated_task(
    folder: str | Path,
    seconds: float,
    column: str | None = None,
    unsure: Collection[str] = (),
    folds: int = 5,
    seed: int = 0,
) -> Task:
    """Multi-label task of all stretches of the annotated recordings; a recording is in one fold."""
    rows = cut_clips(read_annotated(folder, column), seconds, unsure=unsure)
    classes = sorted({label for labels in rows["labels"] for label in labels})
    if len(classes) < 2:
        raise OscineError(f"{folder} has annotations of {len(classes)} class; a probe needs at least two to tell apart")
    targets = multi_hot(rows["labels"], classes)
    check_names(dict(zip(classes, targets.sum(0).int().tolist(), strict=True)), folder)
    rows = rows.assign(fold=assign_folds(rows, targets, folds, seed) + 1)
    return Task(rows, classes, targets, split_rows(rows, folder))


def _labels(events: DataFrame, start: float, end: float, overlap: float) -> list[str]:
    shared = events["end"].clip(upper=end) - events["start"].clip(lower=start)
    needed = ((events["end"] - events["start"]) / 2).clip(upper=overlap)
    return sorted(set(events["label"][shared >= needed - 1e-6]))
