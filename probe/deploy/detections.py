"""Turn a table of probabilities into detections, as a Raven selection table or Audacity labels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.audio.channels import MIX
from oscine.models.audio.shard import ALL
from oscine.models.embed.embed import describe, make_job
from oscine.models.embed.settings import EmbedSettings
from oscine.models.embed.table import read_listed, read_made_by, read_rows, writing
from oscine.models.embed.table_metadata import CHANNEL, keys_of
from oscine.models.encoders.base.precision import FLOAT32
from oscine.models.errors import OscineError
from oscine.models.json_text import check_same_settings
from oscine.models.locks import lock_output
from oscine.models.recordings.headers import scan_headers
from oscine.models.recordings.inputs import Recordings
from oscine.models.replace_outputs import remove_empty
from oscine.probe.deploy.arguments import RAVEN, THRESHOLD, check_detections, check_threshold
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.predict import Probabilities
from oscine.probe.metrics.sound_events import find_events
from oscine.probe.tasks.selection_tables import COLUMNS, write_audacity, write_raven

DEFAULTS = EmbedSettings()
REMEDY = "choose another name, or make it anew with --overwrite, overwrite=True"
SAME = (
    "fingerprint", "probe_fingerprint", "scaling", "clip_seconds", "hop_seconds", "shard", "folder", "channel", "shortest",
)  # fmt: skip


def write_detections(
    fitted: FittedProbe,
    table: str | Path,
    recordings: Recordings,
    out: str | Path,
    *,
    threshold: float | None = None,
    settings: EmbedSettings = DEFAULTS,
) -> int:
    """Write what a table of predictions amounts to, and return the number of detections.

    A detection is a class whose probability reaches its threshold; rows of one recording that follow one another without a
    gap are one detection, whose score is the highest of their probabilities.

    table: Parquet or CSV, as `predict_recordings` writes it of these recordings with this probe. out: FILE.txt, a
    Raven selection table to be opened with all the recordings in the order of their names; or a new folder, that gets an
    Audacity label track NAME.txt for every recording NAME of the table (NAME.channel_2.txt with channel "each"). Either is
    written whole or not at all. threshold: for all classes; by default those that the probe brings, else 0.5. settings: as
    the table was made with; and whether a selection table may be replaced.
    """
    table, out = Path(table), check_detections(out, settings.overwrite)
    thresholds = thresholds_of(fitted, threshold)
    found = scan_headers(recordings, channel=settings.channel)
    now = describe(make_job(Probabilities(fitted), settings))
    check_table(table, now | {"shard": str(ALL), "folder": found.folder})
    answered = {*read_made_by(table).get("classes", fitted.classes)}
    if lacking := next((name for name in fitted.classes if name not in answered), None):
        raise OscineError(f"{table} was made for other classes, without {lacking}; {REMEDY}")
    places = {recording.name: recording for recording in found.recordings}
    median = fitted.median if fitted.frame_seconds else 1
    heard = {name: find_detections(rows[fitted.classes], thresholds, median) for name, rows in recordings_of(table)}
    gone = [name for name in heard if name not in places]
    if gone:
        raise OscineError(f"{gone[0]} is in {table} and cannot be read any more; make the table anew, with overwrite")
    with lock_output(out, "choose another name"), writing(out):
        check_detections(out, settings.overwrite)  # again: another command may have written it meanwhile
        if out.suffix == RAVEN:
            # Raven looks for recordings from where it is, not from here.
            paths = {
                name: os.fsencode(os.path.abspath(recording.path)).decode(errors="backslashreplace")
                for name, recording in places.items()
            }
            some = [found.assign(path=paths[name]) for name, found in heard.items() if len(found)]
            detections = pd.concat(some) if some else DataFrame(columns=COLUMNS)
            if isinstance(settings.channel, int):
                detections = detections.assign(channel=settings.channel)
            write_raven(out, detections, {paths[name]: recording.info for name, recording in places.items()})
        else:
            write_labels(out, heard)
    return sum(map(len, heard.values()))


def is_current(
    fitted: FittedProbe,
    table: str | Path,
    recordings: Recordings,
    precision: str = FLOAT32,
    *,
    settings: EmbedSettings = DEFAULTS,
) -> bool:
    """Return whether a finished table is what `predict_recordings` would make now: no recording has changed since."""
    table, found = Path(table), scan_headers(recordings, channel=settings.channel)
    job = make_job(Probabilities(fitted, precision), settings)
    try:
        now = describe(job) | {"shard": str(ALL), "folder": found.folder}
        check_table(table, now, (*SAME, "version", "precision", "clock", "classes"))
        listed = read_listed(table)
    except OscineError:
        return False
    made = table.stat().st_mtime_ns
    return found.listed.keys() <= listed.keys() and all(recording.stamp[1] < made for recording in found.recordings)


def find_detections(rows: DataFrame, thresholds: Tensor, median: int = 1) -> DataFrame:
    """Find detections, with the columns of annotations, in rows as `predict_file` gives them; thresholds [classes]."""
    found = []
    times = rows.index.to_frame(index=False)
    gap = (times["file"] != times["file"].shift()) | (times["start_time"] > times["end_time"].shift() + 1e-6)
    # A stretch that begins before the last one's end is another one, and so is a channel.
    gap |= times["start_time"] < times["start_time"].shift()
    channels = [CHANNEL] if CHANNEL in times else []
    if channels:
        gap |= times[CHANNEL] != times[CHANNEL].shift()
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
                | {name: times[name].iat[places[first]] for name in channels}
            )
    return DataFrame(found, columns=[*COLUMNS, *channels])


def thresholds_of(fitted: FittedProbe, threshold: float | None) -> Tensor:  # [classes]
    """Return the threshold that is given for all classes, else the probe's own."""
    if threshold is None and fitted.thresholds is not None:
        return fitted.thresholds
    check_threshold(threshold)
    return torch.full((len(fitted.classes),), THRESHOLD if threshold is None else threshold, dtype=torch.float64)


def check_table(table: Path, now: Mapping[str, Any], same: Sequence[str] = SAME) -> None:
    """Raise where a table was made otherwise than it would be now, or is of other recordings."""
    made = {CHANNEL: MIX} | read_made_by(table)
    was, given = ({key: record.get(key) for key in same} for record in (made, now))
    check_same_settings(was, given, complaint=f"{table} was made with", remedy=REMEDY)


def recordings_of(table: Path) -> Iterator[tuple[str, DataFrame]]:
    """Yield each recording's name and rows, indexed by file, start_time and end_time; never more than a few held at once."""
    waiting: list[DataFrame] = []
    for batch in read_rows(table):
        for name, rows in batch.groupby("file", sort=False):
            if waiting and waiting[0]["file"].iat[0] != name:
                yield _joined(waiting)
                waiting = []
            waiting.append(rows)
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[DataFrame]) -> tuple[str, DataFrame]:
    return str(pieces[0]["file"].iat[0]), pd.concat(pieces).set_index(keys_of(pieces[0].columns.tolist()))


def write_labels(out: Path, heard: Mapping[str, DataFrame]) -> None:
    """Write a label track for every name, in a folder that is there when all of them are."""
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a call that was killed
    part.mkdir()
    tracks = {
        f"{relative_name(name)}{ending}": track
        for name, rows in heard.items()
        for ending, track in label_tracks(rows).items()
    }
    if len({relative_name(name) for name in heard}) < len(heard):
        raise OscineError(f"two recordings would have one label track in {out}; take a table {RAVEN} for Raven")
    for name, detections in tracks.items():
        track = part / name
        track.parent.mkdir(parents=True, exist_ok=True)
        write_audacity(track, detections)
    if out.is_dir():
        remove_empty(out)  # Windows puts no folder in the place of another
    part.replace(out)


def label_tracks(detections: DataFrame) -> dict[str, DataFrame]:
    """Return the label tracks of a recording by what their names end in: one, or one a channel."""
    if CHANNEL not in detections:
        return {RAVEN: detections}
    return {f".channel_{channel}{RAVEN}": rows for channel, rows in detections.groupby(CHANNEL)}


def relative_name(name: str) -> str:
    """Return a recording's name as one below a folder, also where a list names it from the root or from above."""
    path = PurePath(name)
    return "/".join(part for part in path.parts if part not in (path.anchor, ".."))
