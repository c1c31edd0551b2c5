"""Read a folder of recordings with annotations beside them as a task: stretches, and what sounds in each."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame

from oscine.models.audio.load import AudioInfo, audio_info
from oscine.models.audio.scan import find_tabled
from oscine.models.errors import OscineError
from oscine.models.recordings.spreadsheet import read_text
from oscine.probe.tasks.class_names import check_names, name_classes
from oscine.probe.tasks.groups import assign_folds
from oscine.probe.tasks.selection_tables import BEGIN, COLUMNS, RecordingNames, audacity_rows, raven_rows
from oscine.probe.tasks.task import Task, multi_hot, split_rows

OVERLAP = 0.25  # seconds of an annotation that must lie in a stretch to label it
ROUNDED = 0.01  # seconds beyond the end that are only how a number was rounded, or a file decoded

logger = logging.getLogger(__name__)


class Annotated(NamedTuple):
    """Annotations with `COLUMNS`, and the recordings that somebody has listened to, whether they found something or not."""

    annotations: DataFrame
    recordings: dict[str, AudioInfo]


def read_annotated(
    folder: str | Path,
    column: str | None = None,
    *,
    recordings: str | Path | None = None,
    skip_bad_tables: bool = False,
) -> Annotated:
    """Read all Raven selection tables and Audacity label tracks (.txt) of a folder, and of the folders below it.

    Or one such table. recordings: the folder of what the tables are about, where they lie somewhere else.

    A recording counts as listened to if a table is named after it or is about it, be it empty; the others are left out,
    because nobody knows what sounds in them. An annotation that reaches beyond its recording is cut there; one that lies
    outside makes its table a bad one. column: as for `read_raven`. skip_bad_tables: leave out the tables that cannot be
    used, and every recording that one of them may be about, instead of raising an error that names them.
    """
    folder = Path(folder)
    listed = find_tabled(recordings or (folder.parent if folder.is_file() else folder))
    names, headers = RecordingNames(listed), Headers()
    found, heard, bad = [], set[str](), dict[Path, str]()
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.txt")):
        try:
            if (rows := _read_rows(path, names, column)) is None:
                logger.warning("%s is no selection table, nor named after a recording; it is left out", path)
                continue
            about = {*rows[0]["path"], *([str(rows[1])] if rows[1] else [])}
            found.append(headers.cut(path, rows[0], about))
            heard |= about
        except OscineError as error:
            bad[path] = str(error)
    if bad and not skip_bad_tables:
        raise _refusal(folder, [*bad.values()], len(found) + len(bad))
    for path, reason in bad.items():
        logger.warning("left out, with its recordings: %s", reason)
        heard -= _perhaps_about(path, listed, names)
    if not heard:
        raise OscineError(
            f"no annotations in {folder}{' that can be used' * bool(bad)}; expected Raven or Audacity tables, .txt, called "
            "as the recordings"
        )
    known = [str(path) for path in listed if str(path) in heard]
    if len(known) < len(listed):
        logger.warning(
            "%d of %d recordings have no annotations and are left out", len(listed) - len(known), len(listed)
        )
    filled = [table for table in found if len(table)]
    annotations = pd.concat(filled, ignore_index=True) if filled else DataFrame(columns=COLUMNS)
    annotations = annotations[annotations["path"].isin(known)].reset_index(drop=True)
    if unnamed := int((annotations["label"] == "").sum()):
        logger.warning(
            "%s: %d of %d annotations have no label: nobody knows what sounds there, so that the stretches are left out",
            folder, unnamed, len(annotations),
        )  # fmt: skip
    if scored := int(annotations["score"].notna().sum()):
        logger.warning(
            "%s: %d of %d annotations have a score, as a classifier writes it: they are taken as labels that somebody has "
            "checked",
            folder, scored, len(annotations),
        )  # fmt: skip
    if headers.cut_off:
        logger.warning(
            "%s: %d annotations reach beyond their recordings, by up to %.3g s, and are cut there",
            folder, headers.cut_off, headers.farthest,
        )  # fmt: skip
    return Annotated(annotations, {path: headers.of(path) for path in known})


def _read_rows(path: Path, names: RecordingNames, column: str | None) -> tuple[DataFrame, Path | None] | None:
    """Read the rows of a table and the recording that it is named after; None where it is no table of annotations."""
    head = _first_line(path)
    own = names.beside(path)
    if BEGIN in head:
        return raven_rows(path, names, column), own
    return (audacity_rows(path, names), own) if own else None


class Headers:
    """The headers of annotated recordings, each read once; and how many annotations reach beyond their ends."""

    def __init__(self) -> None:
        self.read: dict[str, AudioInfo] = {}
        self.cut_off, self.farthest = 0, 0.0

    def of(self, path: str) -> AudioInfo:
        if path not in self.read:
            self.read[path] = audio_info(path)
        return self.read[path]

    def cut(self, table: Path, rows: DataFrame, recordings: Collection[str]) -> DataFrame:
        """Cut rows of a table to the recordings that it is about; raise where one lies outside of its own."""
        length = {path: self.of(path).seconds for path in recordings}
        if not len(rows):
            return rows
        seconds = rows["path"].map(length)
        start, end = (rows[name].clip(lower=0.0, upper=seconds) for name in ("start", "end"))
        outside = (rows["end"] < rows["start"]) | (rows["start"] > seconds + ROUNDED) | (rows["end"] < -ROUNDED)
        outside |= (end == start) & (rows["end"] > rows["start"] + ROUNDED)
        if outside.any():
            first = rows[outside].iloc[0]
            raise OscineError(
                f"{table}: row {outside.idxmax()} is of {first['start']:g} to {first['end']:g} s, but {first['path']} lasts "
                f"{seconds[outside].iloc[0]:g} s"
                + (f" ({int(outside.sum())} such rows)" if outside.sum() > 1 else "")
                + "; times count from its beginning: where several files were open in Raven, export the File Offset"
            )
        beyond = (rows["end"] - end) + (start - rows["start"])
        self.cut_off += int((beyond > ROUNDED).sum())
        self.farthest = max(self.farthest, float(beyond.max()))
        return rows.assign(start=start, end=end)


def _refusal(folder: Path, reasons: list[str], total: int) -> OscineError:
    """Name the first bad tables in one line."""
    advice = "or go on without such tables and their recordings: --skip-bad-tables, skip_bad_tables=True"
    if len(reasons) == 1:
        return OscineError(f"{reasons[0]}; {advice}")
    shown = " ".join(f"({number}) {reason[:300]}" for number, reason in enumerate(reasons[:3], 1))
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return OscineError(f"{len(reasons)} of {total} tables in {folder} cannot be used: {shown}{more}; {advice}")


def _perhaps_about(table: Path, recordings: Sequence[Path], names: RecordingNames) -> set[str]:
    """Find the recordings that a bad table is named after or names: other tables alone do not say what sounds in them."""
    try:
        own = names.beside(table)
    except OscineError:  # it may be any of several
        called = {one for one in recordings if table.name.startswith(f"{one.stem}.")}
    else:
        called = {own} if own else set()
    try:
        text = read_text(table)[0]
    except OscineError:
        text = ""
    cells = {*re.split(r"[\t\r\n/\\]", text)}
    return {str(one) for one in recordings if one in called or one.name in cells}


def _first_line(path: Path) -> str:
    """Read the first line; empty where the file is no text, or a pipe: it may be no table of annotations at all."""
    try:
        return read_text(path)[0].partition("\n")[0] if path.is_file() else ""
    except OscineError:
        return ""


def cut_clips(annotated: Annotated, seconds: float, unsure: Collection[str] = ()) -> tuple[DataFrame, int]:
    """Cut recordings into stretches of `seconds` with path, start, end, labels, which may be empty; count the unsure ones.

    `OVERLAP` of an annotation, or half of a short one, must lie in a stretch to label it: each labels one at least. unsure:
    labels that mean that somebody could not tell, such as "?"; stretches with one are left out rather than taken for silent,
    as are those with an annotation that has no label.
    """
    of_file, unknown = dict(list(annotated.annotations.groupby("path"))), {*unsure, ""}
    rows, left_out = [], 0
    for path, info in annotated.recordings.items():
        begins = np.arange(0, max(info.seconds - 1e-6, 1e-6), seconds)
        begins = begins[: 1 + int(np.searchsorted(begins + seconds, info.seconds - 1e-6))]  # the first to reach the end
        events = of_file.get(path)
        for start in begins.tolist():
            end = min(start + seconds, info.seconds)
            labels = [] if events is None else _labels(events, start, end)
            if unknown.isdisjoint(labels):
                rows.append({"path": path, "start": start, "end": end, "labels": labels})
            else:
                left_out += 1
    return DataFrame(rows, columns=["path", "start", "end", "labels"]), left_out


def _labels(events: DataFrame, start: float, end: float) -> list[str]:
    shared = events["end"].clip(upper=end) - events["start"].clip(lower=start)
    needed = ((events["end"] - events["start"]) / 2).clip(upper=OVERLAP)
    return sorted(set(events["label"][shared >= needed - 1e-6]))


def annotated_task(
    folder: str | Path,
    seconds: float,
    *,
    column: str | None = None,
    unsure: Collection[str] = (),
    folds: int = 5,
    negatives: bool = True,
    skip_bad_tables: bool = False,
) -> Task:
    """Make a multi-label task of all stretches of the annotated recordings; a recording is in one fold."""
    annotated = read_annotated(folder, column, skip_bad_tables=skip_bad_tables)
    rows, left_out = cut_clips(annotated, seconds, unsure)
    labelled = int(rows["labels"].map(bool).sum())
    logger.info(
        "%s: %d recordings make %d stretches of up to %g s: %d with labels, %d in which no class sounds; %d are left out as "
        "unsure",
        folder, len(annotated.recordings), len(rows) + left_out, seconds, labelled, len(rows) - labelled, left_out,
    )  # fmt: skip
    clips = Counter(label for labels in rows["labels"] for label in labels)
    classes = name_classes(clips, folder, negatives)
    targets = multi_hot(rows["labels"], classes)
    if not classes or (len(classes) == 1 and targets.all()):
        raise OscineError(
            f"{folder} has annotations of {len(classes)} class{', which sounds in every stretch' * len(classes)}; a probe "
            "needs two to tell apart, or stretches without it"
        )
    check_names(dict(zip(classes, targets.sum(0).int().tolist(), strict=True)), folder)
    rows = rows.assign(fold=assign_folds(rows, targets, folds) + 1)
    return Task(rows, classes, targets, split_rows(rows, folder))
