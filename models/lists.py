"""Lists of recordings, and of stretches of them: tables with a column path, or texts with a path a line."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from oscine.models.errors import OscineError
from oscine.models.recordings import refuse
from oscine.models.scan import is_address

WAITED_FOR = 16  # files looked for at a time: a disk on the network answers late, but many at once


class RecordingList(NamedTuple):
    """The rows of a list. starts, ends: of the stretch, in seconds; 0 and infinity where the list does not say."""

    path: Path
    names: list[str]  # as the list writes them
    starts: list[float]
    ends: list[float]

    def place(self, name: str) -> Path:
        """Return where a recording lies: names are relative to the list's folder unless absolute."""
        return self.path.parent / name

    def missing(self) -> list[str]:
        """Return the names of recordings that do not exist."""
        names = list(dict.fromkeys(self.names))
        with ThreadPoolExecutor(WAITED_FOR) as threads:
            return [
                name for name, found in zip(names, threads.map(os.path.isfile, map(self.place, names))) if not found
            ]

    def lost(self, missing: list[str]) -> OscineError:
        """Return the error that says which recordings do not exist, and where they were looked for."""
        here = sum(os.path.isfile(name) for name in missing)
        advice = f"; {here} are below the current folder: save the list there" if here else ""
        return OscineError(
            f"{self.path}: {len(missing)} of its {len(set(self.names))} recordings do not exist, such as "
            f"{', '.join(missing[:3])}; paths are relative to {self.path.parent.absolute()}{advice}"
        )


def read_list(path: Path) -> RecordingList:
    """Read a list of recordings from CSV, TSV or Parquet, or from a text with a path a line.

    Columns: `path`, relative to the list's folder unless absolute; optional `start` and `end` in seconds, where an empty
    cell is the recording's own. Others are passed over. Rows are counted as a spreadsheet does, the header being row 1.
    """
    table = _read(path)
    if "path" not in table:
        raise OscineError(
            f"{path} has no column path; it has {', '.join(map(str, table))[:200]} (columns are separated by commas)"
        )
    if table.empty:
        raise OscineError(f"the list {path} has no rows; expected one for each recording or stretch")
    names = table["path"].fillna("").astype(str).str.strip()
    refuse(path, names, names == "", "has no path; fill it in or leave the row out")
    refuse(path, names, names.map(is_address), "is an address, not a file; download the recordings first")
    start, end = (_seconds(path, names, table, column) for column in ("start", "end"))
    start = start.fillna(0.0)
    refuse(path, names, start < 0, "has a start before 0 s; times count from the beginning of the file")
    refuse(path, names, start >= end, "has an end that is not after its start")
    return RecordingList(path, names.tolist(), start.tolist(), end.fillna(np.inf).tolist())


def _read(path: Path) -> DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.suffix.lower() == ".txt" else []
        if lines and "\t" not in lines[0]:
            # Windows puts what is copied as a path between quotation marks.
            names = [line.strip().strip('"') for line in lines]
            return DataFrame({"path": [name for name in names if name]}, dtype=str)
        separator = "," if path.suffix.lower() == ".csv" else "\t"
        # As text: a file may be called 001 or NA.
        return pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", skipinitialspace=True, index_col=False, dtype=str,
            keep_default_na=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise OscineError(f"no list {path}; check the path") from None
    except OSError as error:
        raise OscineError(f"the list {path} could not be opened ({error.strerror or error}); check it") from None
    except ValueError as error:  # a parser's complaint, or bytes that are no text
        reason = (str(error).strip() or "unknown").splitlines()[0]
        raise OscineError(f"{path} is no table ({reason}); expected a CSV with a column path") from None


def _seconds(path: Path, names: Series, table: DataFrame, column: str) -> Series:
    """Return a column of seconds, NaN where a cell is empty or the column is not there."""
    if column not in table:
        return Series(np.nan, index=table.index)
    empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
    numbers = pd.to_numeric(table[column], errors="coerce").astype(float)
    wrong = (numbers.isna() & ~empty) | np.isinf(numbers)
    refuse(path, names, wrong, f"has no number of seconds as its {column}")
    return numbers
