"""From a table of probabilities to what was heard and when, as a Raven selection table or as Audacity labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.embed import describe, job_of
from oscine.models.errors import OscineError
from oscine.models.survey import ALL, Survey, survey
from oscine.models.table import KEYS, METADATA, ROW_GROUP, read_schema, writing
from oscine.probe.annotations import COLUMNS, write_audacity, write_raven
from oscine.probe.events import find_events
from oscine.probe.fitted import FittedProbe
from oscine.probe.predict import Probabilities

RAVEN = ".txt"
THRESHOLD = 0.5  # where a probe brings none
SAME = ("fingerprint", "probe_fingerprint", "scaling", "clip_seconds", "hop_seconds", "shard", "folder")


def write_detections(
    fitted: FittedProbe,
    table: str | Path,
    folder: str | Path,
    out: str | Path,
    threshold: float | None = None,
    hop: float | None = None,
    overwrite: bool = False,
) -> int:
    """Write what a table of predictions amounts to, and return the number of detections.

    A detection is a class whose probability reaches its threshold; rows of one recording that follow one another without a
    gap are one detection, whose score is the highest of their probabilities.

    table: Parquet, of all recordings below `folder`, as `predict_folder` writes it with this probe and `hop`. out: FILE.txt,
    a Raven selection table to be opened with all the folder's recordings in the order of their names; or a new folder, that
    gets an Audacity label track NAME.txt for every recording NAME of the table. Either is written whole or not at all.
    threshold: for all classes; by default those that the probe brings, else 0.5.
    """
    table, out = Path(table), check_detections(out, overwrite)
    thresholds = thresholds_of(fitted, threshold)
    found = survey(Path(folder).resolve())  # Raven looks for recordings from where it is, not from here
    check_table(fitted, table, found, hop)
    recordings = {recording.name: recording for recording in found.recordings}
    median = fitted.median if fitted.frame_seconds else 1
    heard = {name: find_detections(rows[fitted.classes], thresholds, median) for name, rows in recordings_of(table)}
    gone = [name for name in heard if name not in recordings]
    if gone:
        raise OscineError(f"{gone[0]} is in {table} and cannot be read any more; make the table anew, with overwrite")
    with writing(out):
        if out.suffix == RAVEN:
            some = [found.assign(path=str(recordings[name].path)) for name, found in heard.items() if len(found)]
            detections = pd.concat(some) if some else DataFrame(columns=COLUMNS)
            write_raven(out, detections, {str(recording.path): recording.info for recording in recordings.values()})
        else:
            write_labels(out, heard)
    return sum(map(len, heard.values()))


def find_detections(rows: DataFrame, thresholds: Tensor, median: int = 1) -> DataFrame:
    """Detections, with the columns of annotations, in rows as `predict_file` gives them; thresholds [classes]."""
    found = []
    times = rows.index.to_frame(index=False)
    gap = (times["file"] != times["file"].shift()) | (times["start_time"] > times["end_time"].shift() + 1e-6)
    probabilities = torch.from_numpy(rows.to_numpy(copy=True))
    for places in times.groupby(gap.cumsum()).indices.values():
        heard = probabilities[torch.from_numpy(places)]
        for event in find_events(heard, 1, thresholds, median):
            first, last = int(event.onset), int(event.offset)
            found.append(
                {
                    "path": times["file"].iat[places[first]],
                    "start": times["start_time"].iat[places[first]],
                    "end": times["end_time"].iat[places[last]],
                    "label": rows.columns[event.label],
                    "score": heard[first : last + 1, event.label].max().item(),
                }
            )
    return DataFrame(found, columns=COLUMNS)


def thresholds_of(fitted: FittedProbe, threshold: float | None) -> Tensor:  # [classes]
    """One for all classes if it is given, else the probe's own."""
    if threshold is None and fitted.thresholds is not None:
        return fitted.thresholds
    if threshold is not None and not 0 < threshold <= 1:
        raise OscineError(f"threshold is {threshold:g}, expected a probability above 0 and up to 1")
    return torch.full((len(fitted.classes),), THRESHOLD if threshold is None else threshold, dtype=torch.float64)


def check_detections(out: str | Path, overwrite: bool) -> Path:
    """Where detections could be written; nothing but an earlier selection table is ever replaced."""
    out = Path(out)
    if out.suffix not in (RAVEN, ""):
        raise OscineError(f"detections {out}: expected FILE{RAVEN} for Raven, or a new folder for Audacity's labels")
    if not out.parent.is_dir():
        raise OscineError(f"no folder {out.parent} to write {out.name} to; make it first")
    if out.suffix == RAVEN and out.is_file() and overwrite:
        return out
    if out.exists() and not (out.suffix == "" and out.is_dir() and not any(out.iterdir())):
        raise OscineError(f"{out} exists already; choose another name, or move it away")
    return out


def check_table(fitted: FittedProbe, table: Path, found: Survey, hop: float | None) -> None:
    """An error where a table was made otherwise, or is of other recordings."""
    made = json.loads(read_schema(table).metadata[METADATA])
    now = describe(job_of(Probabilities(fitted), hop, None), "float32") | {"shard": str(ALL), "folder": found.folder}
    differ = [key for key in SAME if made.get(key) != now[key]]
    if differ:
        raise OscineError(
            f"{table} was made with {differ[0]} {made.get(differ[0])!r}, not {now[differ[0]]!r}; choose another name, or "
            "make it anew with --overwrite, overwrite=True"
        )


def recordings_of(table: Path) -> Iterator[tuple[str, DataFrame]]:
    """Each recording's name and rows, indexed by file, start_time and end_time; never more than a few held at once."""
    waiting: list[DataFrame] = []
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(ROW_GROUP):
            for name, rows in batch.to_pandas().groupby("file", sort=False):
                if waiting and waiting[0]["file"].iat[0] != name:
                    yield _joined(waiting)
                    waiting = []
                waiting.append(rows)
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[DataFrame]) -> tuple[str, DataFrame]:
    return str(pieces[0]["file"].iat[0]), pd.concat(pieces).set_index(KEYS)


def write_labels(out: Path, heard: Mapping[str, DataFrame]) -> None:
    """A label track for every name, in a folder that is there when all of them are."""
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a call that was killed
    part.mkdir()
    for name, detections in heard.items():
        track = part / f"{name}{RAVEN}"
        track.parent.mkdir(parents=True, exist_ok=True)
        write_audacity(track, detections)
    part.replace(out)
