"""Tables that label recordings, as both rooms read them."""

from __future__ import annotations

import logging
from pathlib import Path

from pandas import DataFrame, Series, to_numeric

from oscine.models.audio.channels import MIX, is_one_channel, one_channel
from oscine.models.errors import OscineError
from oscine.models.recordings.column_names import SCORES, SYNONYMS, key
from oscine.models.recordings.lists import read_stretches
from oscine.models.recordings.named_files import find_files
from oscine.models.recordings.spreadsheet import EMPTY, Sheet, read_sheet, refuse
from oscine.models.words import counted, restore_controls

VIEWS = ("selection", "view")  # columns of a Raven selection table
OFFSET = "file offset"
ROUNDED = 0.01  # seconds beyond the end that are only how a number was rounded, or a file decoded
# The share of a stretch that must lie in its recording: of BirdNET's last window of 3 s there may be 1 s alone.
INSIDE = 0.25

logger = logging.getLogger(__name__)


def read_table(path: str | Path) -> DataFrame:
    """A labelled table from CSV, TSV or Parquet: absolute `path`, `labels` as lists, other columns as they are.

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
        sheet.refuse(sheet.typed(column).isna(), f"has no {column}; fill it in or leave the row out")
    if "start" in table:
        empty = [sheet.texts(column).isin(EMPTY) for column in ("start", "end")]
        sheet.refuse(empty[0] != empty[1], "has only one of start and end; give both or none")
    sheet.check()
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
    _note_scores(sheet)
    sheet.say()
    return table.assign(**{name: sheet.typed(name) for name in others}).reset_index(drop=True)


def _note_scores(sheet: Sheet) -> None:
    """Note that rows may be what a classifier has found rather than what somebody has heard."""
    for column in (name for name in sheet.table.columns if key(name) in SCORES):
        if scored := int(to_numeric(sheet.table[column], errors="coerce").notna().sum()):
            sheet.notes.append(
                f"{counted(scored, 'row has', 'rows have')} a {column}, as a classifier writes it: they are taken as "
                "labels that somebody has checked"
            )


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
        raise OscineError(sheet.lacks(lacking))
    if "label" in table and "labels" in table:
        raise OscineError(f"{path} has both label and labels; keep label for one a row, or labels for several")
    if "fold" in table and "split" in table:
        raise OscineError(f"{path} has both a 'fold' and a 'split' column; keep the one that is to be tested on")
    _check_raven(sheet)


def _check_raven(sheet: Sheet) -> None:
    """Times of a selection table count through all recordings that were open, and its files are named as there."""
    if {key(column) for column in sheet.table.columns} >= {*VIEWS}:
        raise OscineError(
            f"{sheet.path} is a selection table of Raven; put it beside its recordings and give --data FOLDER --task.name "
            "annotated instead of --table"
        )


def _labels(sheet: Sheet) -> Series:
    column = "labels" if "labels" in sheet.table else "label"
    labels = Series([_parts(text) for text in sheet.texts(column)], index=sheet.table.index, dtype=object)
    counts = labels.map(len)
    if column == "label":
        sheet.refuse(counts > 1, "has several labels; call the column labels if that is meant")
    if column == "label" or not counts.any():
        sheet.refuse(counts == 0, f"has no {column}; fill it in or leave the row out")
    if empty := int((counts == 0).sum()):
        sheet.notes.append(
            f"{empty} row{'s have' if empty > 1 else ' has'} no label: taken as clips in which no class sounds"
        )
    return labels


def _channels(sheet: Sheet) -> Series:
    """Return the number of every row's channel, 0 being the mean of all, as an empty cell is."""
    texts = sheet.texts("channel").str.removesuffix(".0")  # of whole numbers beside empty cells, in Parquet
    wrong = texts.map(lambda text: bool(text) and not is_one_channel(str(text)))
    refuse(
        sheet.path, sheet.table["path"], wrong,
        "has a channel that is none; expected mix, left, right or a number from 1, or another name for the column",
    )  # fmt: skip
    return texts.map(lambda text: one_channel(str(text or MIX)))


def _parts(text: str) -> list[str]:
    """The labels between semicolons, each once."""
    return list(dict.fromkeys(restore_controls(part.strip()) for part in text.split(";") if part.strip()))
