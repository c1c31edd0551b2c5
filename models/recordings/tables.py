"""Read tables of recordings: those with labels, and lists of recordings and of stretches of them."""

from __future__ import annotations

import logging
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from pandas import DataFrame, Series, to_numeric

from oscine.models.audio.channels import MIX, one_channel
from oscine.models.audio.scan import is_address
from oscine.models.errors import OscineError
from oscine.models.recordings.column_names import SCORES, SYNONYMS, column_key
from oscine.models.recordings.named_files import find_files, find_named, missing_error
from oscine.models.recordings.spreadsheet import EMPTY, Sheet, read_sheet, refuse
from oscine.models.text.safe_text import restore_controls
from oscine.models.text.words import counted

VIEWS = ("selection", "view")  # columns of a Raven selection table
ROUNDED = 0.01  # seconds beyond the end that are only how a number was rounded, or a file decoded
# The share of a stretch that must lie in its recording: of BirdNET's last window of 3 s there may be 1 s alone.
INSIDE = 0.25

logger = logging.getLogger(__name__)


def read_table(path: str | Path) -> DataFrame:
    """Read a labelled table (CSV, TSV, Parquet): absolute `path`, `labels` as lists, other columns as they are.

    What stands in its column `path` is kept as `file`, unless it has a column of that name.

    Columns: `path`, relative to the table's folder unless absolute; `label`, or `labels` with ";" between several, where an
    empty cell is a clip in which no class sounds; optional `fold` or `split`, which must then be filled in; optional `start`
    and `end` in seconds, the labelled stretch, empty for a whole file; optional `channel` that the label is of (mix, left,
    right, a number from 1), empty for the mean of all. Other names of these columns, separators, encodings and spellings are
    read where one thing alone can be meant, and logged in one line. Rows are counted as a spreadsheet does, the header being
    row 1.
    """
    sheet = read_sheet(path)
    sheet.name_columns(SYNONYMS)
    _check_columns(sheet)
    table = read_stretches(sheet)
    table["labels"] = _labels(sheet)
    for column in sheet.table.columns.intersection(["fold", "split"]):
        sheet.add_fault(sheet.typed(column).isna(), f"has no {column}; fill it in or leave the row out")
    if "start" in table:
        empty = [sheet.texts(column).isin(EMPTY) for column in ("start", "end")]
        sheet.add_fault(empty[0] != empty[1], "has only one of start and end; give both or none")
    sheet.raise_faults()
    names = sheet.table["path"]
    paths, notes = find_files(sheet.path, sheet.texts("path").tolist())
    sheet.notes += notes
    table.insert(0, "path", Series(paths, index=table.index, dtype=object))
    if "file" not in sheet.table:
        table["file"] = sheet.texts("path")
    if "channel" in sheet.table:
        table["channel"] = _channels(sheet)
    stretch = table.columns.intersection(["path", "start", "end", "channel"])
    refuse(
        sheet.path, names, table.duplicated(stretch), 'repeats an earlier row; give several labels as "a;b" in labels'
    )
    _check_ends(sheet, table)
    others = sheet.table.columns.difference([*table.columns, "label", ""], sort=False)
    for column in (name for name in sheet.table.columns if column_key(name) in SCORES):
        if scored := int(to_numeric(sheet.table[column], errors="coerce").notna().sum()):
            sheet.notes.append(
                f"{counted(scored, 'row has', 'rows have')} a {column}, as a classifier writes it: they are taken as "
                "labels that somebody has checked"
            )
    sheet.log_notes()
    return table.assign(**{name: sheet.typed(name) for name in others}).reset_index(drop=True)


def _check_ends(sheet: Sheet, table: DataFrame) -> None:
    """Refuse stretches that lie outside of their recordings, by their headers; say which reach beyond the end.

    A recording that cannot be read is left to whoever reads it.
    """
    rows = table.dropna(subset=["start", "end"]) if "start" in table else table.iloc[:0]
    if rows.empty:
        return
    from oscine.models.audio.load import AudioError, read_headers  # which most tables do without

    paths = [*rows["path"].unique()]
    headers = zip(paths, read_headers([Path(path) for path in paths]), strict=True)
    lengths = {path: header[0].seconds for path, header in headers if not isinstance(header, AudioError)}
    seconds, names = rows["path"].map(lengths).astype(float), sheet.texts("path")
    beyond = (rows["end"] > seconds + ROUNDED).reindex(table.index, fill_value=False)
    if not beyond.any():
        return
    inside = (seconds - rows["start"]) / (rows["end"] - rows["start"])
    outside = beyond & (inside.reindex(table.index) < INSIDE)
    first = (outside if outside.any() else beyond).idxmax()
    said = f"is of {rows['start'][first]:g} to {rows['end'][first]:g} s, but its recording lasts {seconds[first]:.6g} s"
    refuse(sheet.path, names, outside, f"{said}; correct it: times are seconds from the beginning of that file")
    logger.warning(
        "%s: %s beyond the recordings' ends, and what is there is taken; row %s (%s) %s",
        sheet.path, counted(int(beyond.sum()), "row reaches", "rows reach"), first, names[first], said,
    )  # fmt: skip


def _check_columns(sheet: Sheet) -> None:
    path, table = sheet.path, sheet.table
    lacking = [] if "path" in table else ["path"]
    if "label" not in table and "labels" not in table:
        lacking.append("label (or labels, for several a row)")
    if ("start" in table) != ("end" in table):
        one, other = ("start", "end") if "start" in table else ("end", "start")
        guessed = "" if one in sheet.header else f" ({one} is guessed: rename that column if it is no time in its file)"
        lacking.append(other + guessed)
    if lacking:
        raise OscineError(sheet.describe_missing(lacking))
    if "label" in table and "labels" in table:
        raise OscineError(f"{path} has both label and labels; keep label for one a row, or labels for several")
    if "fold" in table and "split" in table:
        raise OscineError(f"{path} has both a 'fold' and a 'split' column; keep the one that is to be tested on")
    if {column_key(column) for column in table.columns} >= {*VIEWS}:
        # Times of a selection table count through all recordings that were open, and its files are named as there.
        raise OscineError(
            f"{path} is a selection table of Raven; put it beside its recordings and give --data FOLDER --task.name "
            "annotated instead of --table"
        )


def _labels(sheet: Sheet) -> Series:
    column = "labels" if "labels" in sheet.table else "label"
    labels = Series([_parts(text) for text in sheet.texts(column)], index=sheet.table.index, dtype=object)
    counts = labels.map(len)
    if column == "label":
        sheet.add_fault(counts > 1, "has several labels; call the column labels if that is meant")
    if column == "label" or not counts.any():
        sheet.add_fault(counts == 0, f"has no {column}; fill it in or leave the row out")
    if empty := int((counts == 0).sum()):
        sheet.notes.append(
            f"{empty} row{'s have' if empty > 1 else ' has'} no label: taken as clips in which no class sounds"
        )
    return labels


def _channels(sheet: Sheet) -> Series:
    """Return the number of every row's channel, 0 being the mean of all, as an empty cell is; -1 of one that is none."""

    def number(text: str) -> int:
        try:
            return one_channel(text or MIX)
        except OscineError:
            return -1

    # Parquet has whole numbers beside empty cells as 1.0.
    numbers = sheet.texts("channel").map(lambda text: number(str(text).removesuffix(".0")))
    refuse(
        sheet.path, sheet.table["path"], numbers < 0,
        "has a channel that is none; expected mix, left, right or a number from 1, or another name for the column",
    )  # fmt: skip
    return numbers


def _parts(text: str) -> list[str]:
    """Split a text into the labels between semicolons, each once."""
    return list(dict.fromkeys(restore_controls(part.strip()) for part in text.split(";") if part.strip()))


class RecordingList(NamedTuple):
    """The rows of a list. starts, ends: of the stretch, in seconds; 0 and infinity where the list does not say."""

    path: Path
    names: list[str]  # as the list writes them
    starts: list[float]
    ends: list[float]
    found: dict[str, str]  # name to the file that it is, of those that are there

    def place(self, name: str) -> Path:
        """Return where a recording lies: names are relative to the list's folder unless absolute."""
        return Path(self.found.get(name, self.path.parent / name))

    def shown(self, name: str) -> str:
        """Return a recording's name for a table: as the list has it, or as the disk has it where that differs."""
        written, place = PurePath(name).parts, self.place(name).parts
        if place[-len(written) :] == written:
            return name
        return PurePath(*place[-len(PurePath(name.replace("\\", "/")).parts) :]).as_posix()

    def check_found(self, *, all_of_them: bool) -> None:
        """Raise where recordings do not exist: one of them, or, unless all have to, every one."""
        missing = [name for name in dict.fromkeys(self.names) if name not in self.found]
        if missing and (all_of_them or not self.found):
            raise missing_error(self.path, self.names, missing)


def read_list(path: Path) -> RecordingList:
    """Read a list of recordings from CSV, TSV or Parquet, or from a text with a path a line.

    Columns: `path`, relative to the list's folder unless absolute; optional `start` and `end` in seconds, where an empty
    cell is the recording's own. Others are passed over. Other names of columns and spellings of files are read as
    `read_table` reads them. Rows are counted as a spreadsheet does, the header being row 1.
    """
    sheet = read_sheet(path)
    sheet.name_columns(("path", "start", "end"))
    if "path" not in sheet.table:
        raise OscineError(sheet.describe_missing(["path"]))
    table = read_stretches(sheet)
    sheet.raise_faults()
    names = sheet.texts("path")
    refuse(path, names, names.map(is_address), "is an address, not a file; download the recordings first")
    found, notes = find_named(sheet.path, names.tolist())
    sheet.notes += notes
    sheet.log_notes()
    table = table.reindex(columns=["start", "end"]).astype(float)
    starts, ends = table["start"].fillna(0.0).tolist(), table["end"].fillna(np.inf).tolist()
    return RecordingList(sheet.path, names.tolist(), starts, ends, found)


def read_stretches(sheet: Sheet) -> DataFrame:
    """Read start and end, if a table has them, in seconds; rows without a path, or whose times cannot be, are faults."""
    names = sheet.texts("path")
    sheet.add_fault(names == "", "has no path; fill it in or leave the row out")
    table = DataFrame(
        {column: sheet.seconds(column) for column in ("start", "end") if column in sheet.table}, index=names.index
    )
    start = table["start"].fillna(0.0) if "start" in table else names.map(lambda _: 0.0)
    sheet.add_fault(start < 0, "has a start before 0 s; times count from the beginning of the file")
    if "end" in table:
        sheet.add_fault(table["end"] <= start, "has an end that is not after its start")
    return table
