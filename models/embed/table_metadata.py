"""Read and check what a table says beside its rows: what made it, what it holds, and which recordings it lacks."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from oscine.models.errors import OscineError
from oscine.models.json_text import check_fields, check_version, parse_json
from oscine.models.text.safe_text import as_cell, from_cell

KEYS = ["file", "start_time", "end_time"]
CHANNEL = "channel"  # the column of its number, where every channel has rows of its own
DTYPES = {"float32": pa.float32(), "float16": pa.float16()}
METADATA = b"oscine"  # the schema's key for what made the table, in JSON
CONTENT = "content"  # of that: what the table holds; 0.1 did not say it
AGAIN = "copy it again, or make it anew with overwrite"
ERRORS_AGAIN = "copy it again beside its table, or make the table anew with overwrite"
ERROR_COLUMNS = ["file", "reason"]
ALL_CLIPS = 0.0  # the share `shortest` of 0.1, which had no name for it: every last clip is there
MADE_BY: dict[str, Any] = {  # what every table says of what made it
    "version": str, "model": str | None, "fingerprint": str, "architecture": str, "frontend": str, "config": dict[str, Any],
    "dim": int, "sample_rate": int, "clip_seconds": float, "hop_seconds": float, "dtype": str, "precision": str,
    "shard": str, "folder": dict[str, int | str],
}  # fmt: skip
SOMETIMES: dict[str, Any] = {
    "columns": dict[str, dict[str, int | str]], "channel": int | str, "clock": str | None, "shortest": float,
    CONTENT: dict[str, int | str],
}  # fmt: skip
KINDS = {"file": pa.string(), "start_time": pa.float64(), "end_time": pa.float64(), CHANNEL: pa.int32()}
COUNTS = {"rows": int, "recordings": int, "listed": int, "keys": str}


def made_by(schema: pa.Schema, path: str | Path) -> dict[str, Any]:
    """Return what made a table by its columns' metadata; path: for the error."""
    content = parse_json((schema.metadata or {}).get(METADATA, b"{}"), f"the metadata of {path}", AGAIN)
    if content == {} or (isinstance(content, dict) and "shard" not in content):
        raise OscineError(f"{path} was not written by oscine embed; name a table that was")
    return check_made(content, f"the metadata of {path}")


def check_made(content: Any, source: object) -> dict[str, Any]:
    """Return what made a table, all of it as embed_recordings writes it."""
    made = check_fields(content, MADE_BY, source, AGAIN, SOMETIMES)
    check_version(made["version"], source)
    check_fields(made["folder"], {"recordings": int, "names": str}, f"{source}, folder", AGAIN)
    if CONTENT in made:
        check_fields(made[CONTENT], COUNTS, f"{source}, {CONTENT}", AGAIN)
    for name, column in made.get("columns", {}).items():
        check_fields(column, {"pool": str, "layer": int}, f"{source}, column {name}", AGAIN, {"width": int})
    positive = [name for name in ("dim", "sample_rate", "clip_seconds", "hop_seconds") if not made[name] > 0]
    if positive:
        raise OscineError(f"{source}: {positive[0]} is {made[positive[0]]}, expected more than 0; {AGAIN}")
    if made["dtype"] not in DTYPES:
        raise OscineError(f"{source}: dtype is {made['dtype'][:20]!r}, expected {' or '.join(DTYPES)}; {AGAIN}")
    return made if "shortest" in made else made | {"shortest": ALL_CLIPS}


def keys_of(columns: Sequence[str]) -> list[str]:
    """Return those of a table's columns that say which row it is."""
    return [*KEYS, CHANNEL] if CHANNEL in columns else KEYS


class Keys:
    """Counts and hash of the rows that a table holds, in their order; told table after table, of any length."""

    def __init__(self) -> None:
        self.rows = 0
        self.names: set[str] = set()
        self.hashes: dict[str, Any] = {}

    def add(self, table: pa.Table) -> None:
        for name in keys_of(table.column_names):
            own = self.hashes.setdefault(name, hashlib.sha256())
            if name == "file":
                names = table[name].to_pylist()
                self.names |= set(names)
                own.update("".join(f"{text}\0" for text in names).encode())
            else:
                own.update(table[name].to_numpy().astype("<f8").tobytes())
        self.rows += len(table)

    def describe(self, listed: int) -> dict[str, int | str]:
        """Return what a table's metadata say of its content."""
        digests = "".join(f"{name} {own.hexdigest()}\n" for name, own in sorted(self.hashes.items()))
        keys = hashlib.sha256(digests.encode()).hexdigest() if self.rows else ""
        return {"rows": self.rows, "recordings": len(self.names), "listed": listed, "keys": keys}

    def check(self, made: Mapping[str, Any], path: Path) -> None:
        """Raise an error where a table does not hold what it says that it holds; 0.1 said nothing."""
        said = made.get(CONTENT)
        if said and (found := self.describe(said["listed"])) != said:
            if found["rows"] != said["rows"]:
                differs = f"{found['rows']} rows of {found['recordings']} recordings, not {said['rows']} of "
                differs += str(said["recordings"])
            else:
                differs = "other rows than it was written with, or in another order"
            raise OscineError(f"{path} holds {differs}; {AGAIN}")


@contextmanager
def reading(path: Path, remedy: str = AGAIN) -> Iterator[None]:
    """Raise one line where a table cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise OscineError(f"{path} is damaged, or is gone ({reason}); {remedy}") from None


# OUT.errors.csv: the recordings that a table or shards lack, or have a part of, and why


def errors_path(out: Path) -> Path:
    """Name the list of recordings that a table lacks, or has a part of; it is not there where none are."""
    return out.with_name(f"{out.name}.errors.csv")


def read_errors(path: Path, remedy: str = ERRORS_AGAIN) -> dict[str, str]:
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
