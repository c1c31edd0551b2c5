"""Write and read OUT.errors.csv: the recordings that a table or shards lack, or have a part of, and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from oscine.models.errors import OscineError
from oscine.models.words import as_cell, from_cell

ERROR_COLUMNS = ["file", "reason"]
AGAIN = "copy it again beside its table, or make the table anew with overwrite"


def errors_path(out: Path) -> Path:
    """Name the list of recordings that a table lacks, or has a part of; it is not there where none are."""
    return out.with_name(f"{out.name}.errors.csv")


def read_errors(path: Path, remedy: str = AGAIN) -> dict[str, str]:
    """Read an error list: file to reason. remedy: what would do, for the error; by default of a table's list."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        raise OscineError(f"no error list {path}; {remedy}") from None
    except OSError as error:
        raise OscineError(f"{path} could not be read ({error.strerror}); {remedy}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise OscineError(f"{path} is no table of text ({error}); {remedy}") from None
    if header != ERROR_COLUMNS or any(len(row) != len(ERROR_COLUMNS) for row in rows):
        raise OscineError(f"{path} is no list with the columns {' and '.join(ERROR_COLUMNS)} alone; {remedy}")
    return {from_cell(name): from_cell(reason) for name, reason in rows}


def errors_in_csv(listed: Mapping[str, str]) -> bytes:
    """Return an error list as it is written: for people, see `as_cell`."""
    text = io.StringIO()
    rows = [(as_cell(name), as_cell(reason)) for name, reason in sorted(listed.items())]
    csv.writer(text).writerows([ERROR_COLUMNS, *rows])
    return text.getvalue().encode()
