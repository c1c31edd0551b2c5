"""Tables that label recordings, as both rooms read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from oscine.models.errors import OscineError


def read_table(path: str | Path) -> DataFrame:
    """A labelled table from CSV or Parquet: absolute `path`, `labels` as a list of strings, other columns as they are.

    Columns: `path`, relative to the table's folder unless absolute; `label`, or `labels` with ";" between several;
    optional `fold` or `split`, which must then be filled in; optional `start` and `end` in seconds, the labelled stretch,
    empty for a whole file. Rows are counted as a spreadsheet does, the header being row 1.
    """
    path = Path(path)
    table = _read_rows(path)
    _check_columns(path, table)
    refuse(path, table["path"], table["path"] == "", "has no path; fill it in or leave the row out")
    labels = _labels(path, table)
    for column in table.columns.intersection(["fold", "split"]):
        refuse(path, table["path"], table[column].isna(), f"has no {column}; fill it in or leave the row out")
    if "start" in table:
        _check_times(path, table)
    whole = table.drop(columns="label", errors="ignore").assign(
        path=[str(path.parent.absolute() / name) for name in table["path"]], labels=labels
    )
    missing = [name for name in whole["path"].unique() if not os.path.isfile(name)]
    if missing:
        raise OscineError(
            f"{path}: {len(missing)} of its recordings do not exist, such as {', '.join(missing[:3])}; "
            f"paths are relative to {path.parent.absolute()}"
        )
    stretch = whole.columns.intersection(["path", "start", "end"])
    refuse(
        path, table["path"], whole.duplicated(stretch), 'repeats an earlier row; give several labels as "a;b" in labels'
    )
    return whole


def _read_rows(path: Path) -> DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
            texts = table
        else:
            # Texts stay what they are: "NA" is somebody's species code, "01" is no number.
            how: dict[str, Any] = {"encoding": "utf-8-sig", "skipinitialspace": True, "index_col": False}
            table = pd.read_csv(path, **how)
            texts = pd.read_csv(path, **how, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise OscineError(f"no table {path}; check the path") from None
    except OSError as error:
        raise OscineError(f"the table {path} could not be opened ({error.strerror or error}); check it") from None
    except ValueError as error:  # a parser's complaint, or bytes that are no text
        reason = str(error).strip().splitlines()[0]
        raise OscineError(f"{path} is no table ({reason}); expected a CSV with the columns path and label") from None
    if table.empty:
        raise OscineError(f"the table {path} has no rows; expected one for each recording")
    for name in table.columns.intersection(["path", "label", "labels"]):
        table[name] = Series([_text(value).strip() for value in texts[name]], index=table.index, dtype=object)
    return table


def _text(value: Any) -> str:
    """A cell as CSV would hold it; in Parquet, labels may be a list."""
    if isinstance(value, (list, np.ndarray)):
        return ";".join(value)
    return "" if pd.isna(value) else str(value)


def _check_columns(path: Path, table: DataFrame) -> None:
    columns = ", ".join(map(str, table.columns))
    if "path" not in table:
        raise OscineError(f"{path} has no column path; it has {columns[:200]} (columns are separated by commas)")
    if "label" not in table and "labels" not in table:
        raise OscineError(f"{path} has no column label or labels; it has {columns[:200]}")
    if "label" in table and "labels" in table:
        raise OscineError(f"{path} has both label and labels; keep label for one a row, or labels for several")
    if ("start" in table) != ("end" in table):
        raise OscineError(f"{path} has only one of the columns start and end; give both, in seconds")


def _labels(path: Path, table: DataFrame) -> Series:
    column = "labels" if "labels" in table else "label"
    labels = Series([_parts(text) for text in table[column]], index=table.index, dtype=object)
    refuse(path, table["path"], labels.map(len) == 0, f"has no {column}; fill it in or leave the row out")
    if column == "label":
        refuse(path, table["path"], labels.map(len) > 1, "has several labels; call the column labels if that is meant")
    return labels


def _parts(text: str) -> list[str]:
    """The labels between semicolons, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(";") if part.strip()))


def _check_times(path: Path, table: DataFrame) -> None:
    for column in ("start", "end"):
        numbers = pd.to_numeric(table[column], errors="coerce").astype(float)
        refuse(
            path, table["path"], numbers.isna() & table[column].notna(), f"has a {column} that is no number of seconds"
        )
        table[column] = numbers
    refuse(
        path,
        table["path"],
        table["start"].isna() != table["end"].isna(),
        "has only one of start and end; give both or none",
    )
    refuse(
        path, table["path"], table["start"] < 0, "has a start before 0 s; times count from the beginning of the file"
    )
    refuse(path, table["path"], table["start"] >= table["end"], "has an end that is not after its start")


def refuse(path: Path, names: Series, wrong: Series, complaint: str) -> None:
    """An error that names the first wrong row of a table, by its recording, and says how many there are."""
    if wrong.any():
        first = int(wrong.to_numpy().argmax())
        more = f" ({int(wrong.sum())} such rows)" if wrong.sum() > 1 else ""
        raise OscineError(f"{path}: row {first + 2} ({names.iloc[first]}) {complaint}{more}")
