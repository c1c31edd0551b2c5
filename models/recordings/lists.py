"""Lists of recordings, and of stretches of them: tables with a column path, or texts with a path a line."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from pandas import DataFrame

from oscine.models.audio.scan import is_address
from oscine.models.errors import OscineError
from oscine.models.recordings.named_files import find_named, lost
from oscine.models.recordings.spreadsheet import Sheet, read_sheet, refuse


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

    def missing(self) -> list[str]:
        """Return the names of recordings that do not exist."""
        return [name for name in dict.fromkeys(self.names) if name not in self.found]

    def lost(self, missing: list[str]) -> OscineError:
        """Return the error that says which recordings do not exist, and where they were looked for."""
        return lost(self.path, self.names, missing)


def read_list(path: Path) -> RecordingList:
    """Read a list of recordings from CSV, TSV or Parquet, or from a text with a path a line.

    Columns: `path`, relative to the list's folder unless absolute; optional `start` and `end` in seconds, where an empty
    cell is the recording's own. Others are passed over. Other names of columns and spellings of files are read as
    `read_table` reads them. Rows are counted as a spreadsheet does, the header being row 1.
    """
    sheet = read_sheet(path)
    sheet.name_columns(("path", "start", "end"))
    if "path" not in sheet.table:
        raise OscineError(sheet.lacks(["path"]))
    table = read_stretches(sheet)
    sheet.check()
    names = sheet.texts("path")
    refuse(path, names, names.map(is_address), "is an address, not a file; download the recordings first")
    found, notes = find_named(sheet.path, names.tolist())
    sheet.notes += notes
    sheet.say()
    table = table.reindex(columns=["start", "end"]).astype(float)
    starts, ends = table["start"].fillna(0.0).tolist(), table["end"].fillna(np.inf).tolist()
    return RecordingList(sheet.path, names.tolist(), starts, ends, found)


def read_stretches(sheet: Sheet) -> DataFrame:
    """Read start and end, if a table has them, in seconds; rows without a path, or whose times cannot be, are faults."""
    names = sheet.texts("path")
    sheet.refuse(names == "", "has no path; fill it in or leave the row out")
    table = DataFrame(
        {column: sheet.seconds(column) for column in ("start", "end") if column in sheet.table}, index=names.index
    )
    start = table["start"].fillna(0.0) if "start" in table else names.map(lambda _: 0.0)
    sheet.refuse(start < 0, "has a start before 0 s; times count from the beginning of the file")
    if "end" in table:
        sheet.refuse(table["end"] <= start, "has an end that is not after its start")
    return table
