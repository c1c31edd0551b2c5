"""Manifests: tables that say which recordings, and which stretches of them, clips are cut from."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from oscine.models.audio import HEADERS
from oscine.models.errors import OscineError
from oscine.models.recordings import refuse
from oscine.pretrain.stretches import Files, Span

MANIFESTS = (".csv", ".parquet")


def read_manifest(path: Path) -> Files:
    """Recordings and their stretches from CSV or Parquet.

    Columns: `path`, relative to the manifest's folder unless absolute; optional `start` and `end` in seconds, where an empty
    cell is the recording's own. Others are passed over. A recording may have several rows, a stretch too: it then counts
    as often. Rows are counted as a spreadsheet does, the header being row 1.
    """
    table = _read(path)
    if "path" not in table:
        raise OscineError(
            f"{path} has no column path; it has {', '.join(map(str, table))[:200]} (columns are separated by commas)"
        )
    if table.empty:
        raise OscineError(f"the manifest {path} has no rows; expected one for each recording or stretch")
    names = table["path"].fillna("").astype(str).str.strip()
    refuse(path, names, names == "", "has no path; fill it in or leave the row out")
    start, end = (_seconds(path, names, table, column) for column in ("start", "end"))
    start = start.fillna(0.0)
    refuse(path, names, start < 0, "has a start before 0 s; times count from the beginning of the file")
    refuse(path, names, start >= end, "has an end that is not after its start")
    numbers, unique = pd.factorize(names)
    files = [path.parent / name for name in unique]
    _check_found(path, files)
    return Files(files, [Span(*row) for row in zip(numbers.tolist(), start.tolist(), end.fillna(np.inf).tolist())])


def _read(path: Path) -> DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # As text: a file may be called 001 or NA.
        return pd.read_csv(
            path, encoding="utf-8-sig", skipinitialspace=True, index_col=False, dtype=str, keep_default_na=False
        )
    except FileNotFoundError:
        raise OscineError(f"no manifest {path}; check the path") from None
    except OSError as error:
        raise OscineError(f"the manifest {path} could not be opened ({error.strerror or error}); check it") from None
    except ValueError as error:  # a parser's complaint, or bytes that are no text
        reason = (str(error).strip() or "unknown").splitlines()[0]
        raise OscineError(f"{path} is no table ({reason}); expected a CSV with a column path") from None


def _seconds(path: Path, names: Series, table: DataFrame, column: str) -> Series:
    """A column of seconds, NaN where a cell is empty or the column is not there."""
    if column not in table:
        return Series(np.nan, index=table.index)
    empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
    numbers = pd.to_numeric(table[column], errors="coerce").astype(float)
    wrong = (numbers.isna() & ~empty) | np.isinf(numbers)
    refuse(path, names, wrong, f"has no number of seconds as its {column}")
    return numbers


def _check_found(path: Path, files: list[Path]) -> None:
    with ThreadPoolExecutor(HEADERS) as threads:
        missing = [file for file, found in zip(files, threads.map(os.path.isfile, files)) if not found]
    if missing:
        raise OscineError(
            f"{path}: {len(missing)} of its {len(files)} recordings do not exist, such as "
            f"{', '.join(map(str, missing[:3]))}; paths are relative to {path.parent.absolute()}"
        )
