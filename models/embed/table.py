"""Write and read tables of what was computed of clips (Parquet, NumPy, CSV) and their lists of bad files."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from oscine.models import replace_outputs
from oscine.models.embed.table_metadata import (
    AGAIN,
    CHANNEL,
    CONTENT,
    DTYPES,
    ERRORS_AGAIN,
    KEYS,
    KINDS,
    MADE_BY,
    METADATA,
    Keys,
    check_made,
    errors_in_csv,
    errors_path,
    keys_of,
    made_by,
    read_errors,
    reading,
)
from oscine.models.errors import OscineError
from oscine.models.files import did_you_mean, put, whole, why_too_long, write_whole
from oscine.models.json_text import parse_json, read_json
from oscine.models.text.safe_text import as_cell, from_cell

if TYPE_CHECKING:
    import pandas as pd

    from oscine.models.embed.job import Rows

ROW_GROUP = 4096  # rows that are gathered before they are written
KEY_COLUMNS = [*KEYS, CHANNEL, "recorded"]  # the last two where they were asked for
CSV_BYTES = 12  # of a number in CSV, about

# All rows in order, in tables of any length, as often as asked; with the columns of those names, or all.
Source = Callable[[Sequence[str] | None], Iterator[pa.Table]]


class FileError(NamedTuple):
    """Why a recording stands in the error table.

    refused: its earlier rows must go too, and no later ones are read. Else it is cut short in this `part`, of which no later
    pieces are read; other stretches and channels of it are.
    """

    reason: str
    refused: bool
    part: str = ""


class Summary(NamedTuple):
    """A table in numbers: rows, recordings, seconds; and the files that are listed beside it, with a reason."""

    rows: int
    files: int
    seconds: float
    listed: dict[str, str]
    out: Path
    errors: Path


def check_target(out: str | Path, recordings: object = None) -> Path:
    """Return the path of a table that can be written; raise, before any work, where it cannot.

    recordings: that the table will be of; they, or a list of them in a file, are never replaced.
    """
    out = Path(out)
    named = recordings if isinstance(recordings, (list, tuple)) else [recordings]
    read = [Path(one) for one in named if isinstance(one, (str, Path))]
    if out.exists() and any(path.exists() and out.samefile(path) for path in read):
        raise OscineError(f"{out} is what is read, a list or a recording; give the table another name")
    if out.suffix not in FORMATS:
        raise OscineError(
            f"the table {out} must end in {', '.join(FORMATS)}; call it {out.with_suffix('.csv').name} for Excel or R, "
            f"{out.with_suffix('.parquet').name} for Python"
        )
    if not out.parent.is_dir():
        raise OscineError(f"no folder {out.parent} to write {out.name} to; make it first")
    if out.is_dir():
        raise OscineError(f"{out} is a folder, expected a file to write; choose another name")
    return out


def check_absent(out: Path) -> None:
    """Raise where a table, or what is written beside it, would replace a file, perhaps another table's."""
    for path in (out, *beside(out).values()):
        # What lies beside a table that is not there is of a call that was killed before its last step.
        if path.exists() and (path == out or out.exists() or not _is_ours(path, out)):
            raise OscineError(
                f"{path} exists already; choose another name, or replace it (--overwrite, overwrite=True)"
            )


def check_ours(out: Path) -> None:
    """Raise where a table to replace, or what is beside it, was not written by oscine."""
    for path in (*beside(out).values(), out):
        replace_outputs.check_ours(path, lambda path: _is_ours(path, out))


def _is_ours(path: Path, out: Path) -> bool:
    """Return whether a file is such a table, or beside it, by what no other program writes; others are not replaced."""
    made: bytes | str
    try:
        if path == errors_path(out):
            read_errors(path)
            return True
        if path.suffix == ".parquet":
            made = (pq.read_schema(path).metadata or {}).get(METADATA, b"")
        elif path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive, archive.open(f"{METADATA.decode()}.npy") as entry:
                made = str(np.lib.format.read_array(entry, allow_pickle=False))
        elif path.suffix == ".csv":  # others write such columns, too; none says beside the table what made it
            with path.open("rb") as file:
                begins = file.read(100).replace(b'"', b"").startswith(",".join(KEYS).encode())
            made = beside(path)["metadata"].read_bytes() if begins else b""
        else:
            made = path.read_bytes()
        content = parse_json(made, path, "")
    except (OscineError, pa.ArrowException, zipfile.BadZipFile, OSError, LookupError, ValueError, EOFError):
        return False
    return isinstance(content, dict) and content.keys() >= MADE_BY.keys()


def read_listed(table: Path) -> dict[str, str]:
    """Read a table's error list, file to reason: as many as the table says."""
    content = read_made_by(table).get(CONTENT)
    if content is None:  # 0.1 had one name for the lists of FILE.parquet and FILE.csv, and wrote it always
        return read_errors(table.with_suffix(".errors.csv"))
    listed = read_errors(errors_path(table)) if content["listed"] else {}
    if len(listed) != content["listed"]:
        raise OscineError(
            f"{errors_path(table)} lists {len(listed)} recordings, {table.name} says {content['listed']}; {ERRORS_AGAIN}"
        )
    return listed


def beside(out: Path) -> dict[str, Path]:
    """Name the files that go with a table."""
    files = {"errors": errors_path(out)}
    if out.suffix == ".csv":  # which has no place of its own for what made it
        files["metadata"] = out.with_suffix(".metadata.json")
    return files


def schema_of(
    widths: Mapping[str, int | None],
    dtype: str = "float32",
    clock: str | None = None,
    *,
    metadata: dict[str, Any] | None = None,
    channels: bool = False,
) -> pa.Schema:
    """Make the schema of a table: file, start_time, end_time, with a clock `recorded`, and columns of vectors.

    widths: of the vectors, None of a column of single numbers. channels: whether there is a column `channel`.
    """
    fields = {name: KINDS[name] for name in KEYS}
    if channels:
        fields[CHANNEL] = KINDS[CHANNEL]
    if clock:
        fields["recorded"] = pa.timestamp("us", tz=None if clock == "local" else "UTC")
    fields |= {column: pa.list_(DTYPES[dtype], width) if width else DTYPES[dtype] for column, width in widths.items()}
    return with_metadata(pa.schema(fields), metadata or {})


def read_made_by(path: str | Path) -> dict[str, Any]:
    """Return what made a table, of Parquet or of CSV with its FILE.metadata.json beside it."""
    path = Path(path)
    if path.suffix != ".csv":
        return made_by(read_schema(path), path)
    metadata = beside(path)["metadata"]
    try:
        return check_made(read_json(metadata, AGAIN), metadata)
    except FileNotFoundError:
        raise OscineError(
            f"no {metadata}, which says what made {path.name}; keep it beside the table, or make both again"
        ) from None


def read_tables(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Read a table in Parquet, some thousand rows at a time, with the columns of those names beside its keys, or all.

    The checksums of its pages are verified, its rows compared with what its metadata say at the end.
    """
    schema, found = read_schema(path), Keys()
    wanted = None if columns is None else list(dict.fromkeys([*keys_of(schema.names), *columns]))
    with reading(path):
        about = pq.read_metadata(path)
        for group in range(about.num_row_groups):
            # Opened for each: who reads a thousand shards side by side may not have so many files open.
            with pq.ParquetFile(path, metadata=about, page_checksum_verification=True) as file:
                table = file.read_row_group(group, wanted)
            if any(table[key].null_count for key in keys_of(schema.names)):
                raise OscineError(f"{path} has rows without a file or a time; {AGAIN}")
            found.add(table)
            yield table
    found.check(made_by(schema, path), path)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table in Parquet as `read_tables` does, as one."""
    pieces = list(read_tables(path, columns))
    return pa.concat_tables(pieces) if pieces else read_schema(path).empty_table()


def read_rows(path: str | Path) -> Iterator[pd.DataFrame]:
    """Read a table of Parquet or CSV, whose columns are keys and single numbers, some thousand rows at a time."""
    path = Path(path)
    if path.suffix != ".csv":
        yield from (table.to_pandas() for table in read_tables(path))
        return
    made, found = read_made_by(path), Keys()
    with reading(path):
        with path.open(newline="", encoding="utf-8") as text:
            names = next(csv.reader(text), [])
        if names[: len(KEYS)] != KEYS:
            raise OscineError(f"{path} begins with the columns {names[:3]}, expected {KEYS}; {AGAIN}")
        # A number that was written as the shortest text for it is read as the very same one.
        types = dict.fromkeys(names, pa.float32()) | {"file": pa.string(), CHANNEL: pa.int32()}
        types |= dict.fromkeys(["start_time", "end_time"], pa.float64()) | {"recorded": pa.string()}
        convert = arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False)
        with arrow_csv.open_csv(path, convert_options=convert) as reader:
            for batch in reader:
                table = _translated(pa.Table.from_batches([batch]), from_cell)
                found.add(table)
                yield table.to_pandas()
    found.check(made, path)


def with_metadata(schema: pa.Schema, metadata: dict[str, Any]) -> pa.Schema:
    return schema.with_metadata({METADATA: json.dumps(metadata)})


def as_table(rows: Rows, schema: pa.Schema) -> pa.Table:
    """Make a table of rows, with the columns of a schema."""
    keys = zip(*rows.keys) if rows.keys else [()] * len(KEY_COLUMNS)
    arrays = [
        pa.array(values, schema.field(name).type) for name, values in zip(KEY_COLUMNS, keys) if name in schema.names
    ]
    kinds = schema.types[len(arrays) :]
    widths = [kind.list_size if pa.types.is_fixed_size_list(kind) else None for kind in kinds]
    half = DTYPES["float16"] in [kind.value_type if width else kind for kind, width in zip(kinds, widths)]
    if half and (beyond := ~rows.numbers.half().isfinite().all(dim=1)).any():
        row = int(beyond.nonzero()[0])
        name, start = rows.keys[row][:2]
        raise OscineError(
            f"the numbers of {name} from {start:g} s reach {rows.numbers[row].abs().max():.0f}, beyond float16; take dtype "
            "float32"
        )
    for numbers, width in zip(rows.numbers.split([width or 1 for width in widths], dim=1), widths):
        flat = numbers.contiguous().numpy().ravel().astype(np.float16 if half else np.float32, copy=False)
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), width) if width else pa.array(flat))
    return pa.Table.from_arrays(arrays, schema=schema)


def as_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a DataFrame, indexed by file, times and channel, if any; a column a number: embedding_0, ..."""
    import pandas as pd

    keys = keys_of(table.column_names)
    index = pd.MultiIndex.from_arrays([table[key].to_pylist() for key in keys], names=keys)
    return _flat(table.drop_columns(keys)).to_pandas().set_index(index)


def read_embeddings(path: str | Path) -> pd.DataFrame:
    """Read a table in Parquet: indexed by file, start_time and end_time, a column a number: embedding_0, ..."""
    return as_frame(read_table(Path(path)))


def read_schema(path: str | Path) -> pa.Schema:
    """Read the columns of a table in Parquet and what made it; an error where oscine has not written it."""
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError:
        raise OscineError(f"no table {path}; {did_you_mean(path)}") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise OscineError(
            f"{path} is no Parquet file; expected a table FILE.parquet that oscine embed wrote: of a CSV, embed again with "
            f"--out {Path(path).with_suffix('.parquet').name}"
        ) from None
    made = made_by(schema, path)
    number = DTYPES[made["dtype"]]
    for name, kind in zip(schema.names, schema.types):
        vector = made.get("columns", {}).get(name)
        expected = KINDS.get(name) or (pa.list_(number, vector.get("width", made["dim"])) if vector else number)
        if kind != expected and not (name == "recorded" and pa.types.is_timestamp(kind)):
            raise OscineError(f"{path}: its column {name} is of the type {kind}, expected {expected}; {AGAIN}")
    missing = [name for name in (*KEYS, *made.get("columns", ())) if name not in schema.names]
    if missing or len(set(schema.names)) < len(schema.names):
        raise OscineError(f"{path} has {f'no column {missing[0]}' if missing else 'a column twice'}; {AGAIN}")
    return schema


def write_table(target: Path, work: Path, schema: pa.Schema, *, source: Source, listed: dict[str, str]) -> Summary:
    """Write a table and its error list, if it has one, each complete or not at all; CSV gets FILE.metadata.json, too.

    work: a folder on the same disk, for what is half written.
    """
    seconds, ends, keys = 0.0, dict[str, float](), Keys()
    made = json.loads(schema.metadata[METADATA])
    hop = made.get("hop_seconds", 0.0)
    for table in source(keys_of(schema.names)):
        keys.add(table)
        for name, start, end in zip(*(table[key].to_pylist() for key in KEYS)):
            last = ends.get(name, 0.0)
            # What lies between two clips counts; what lies between two stretches of a list does not.
            seconds += max(0.0, end - (last if start - last < hop + 1e-6 else start))
            ends[name] = max(end, last)
    schema = with_metadata(schema, made | {CONTENT: keys.describe(len(listed))})
    content = {"metadata": schema.metadata[METADATA] + b"\n"} | ({"errors": errors_in_csv(listed)} if listed else {})
    with writing(target):
        for name in beside(target).keys() & content.keys():
            write_whole(work / name, content[name])
        with whole(work / "table") as file:
            FORMATS[target.suffix](file, schema, source)
        if not listed:
            errors_path(target).unlink(missing_ok=True)  # of the table that is replaced
        for name, place in (beside(target) | {"table": target}).items():  # the table last: where it stands, all is done
            if name in content or name == "table":
                put(work / name, place)
    return Summary(keys.rows, len(ends), seconds, dict(sorted(listed.items())), target, errors_path(target))


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Raise one line where a disk is full, or gone."""
    try:
        yield
    except OSError as error:
        reason = why_too_long(target) or error.strerror or error
        raise OscineError(
            f"{target} could not be written ({reason}); make room or choose another place; what is done is kept"
        ) from None


def _write_parquet(file: BinaryIO, schema: pa.Schema, source: Source) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        waiting: list[pa.Table] = []
        for table in source(None):
            waiting.append(table)
            if sum(map(len, waiting)) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(waiting), row_group_size=ROW_GROUP)
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=ROW_GROUP)


def _write_csv(file: BinaryIO, schema: pa.Schema, source: Source) -> None:
    empty = _translated(_flat(schema.empty_table()), as_cell)
    with arrow_csv.CSVWriter(
        file, empty.schema, write_options=arrow_csv.WriteOptions(quoting_style="needed")
    ) as writer:
        for table in source(None):
            writer.write_table(_translated(_flat(table), as_cell))


def _translated(table: pa.Table, translate: Callable[[str], str]) -> pa.Table:
    """A table whose names of recordings and of columns, which may be classes, are written for people, or read again."""
    files = table["file"].to_pylist()
    written = {name: translate(name) for name in {*files}}
    if any(name != written[name] for name in written):
        table = table.set_column(0, table.schema.field("file"), pa.array(map(written.__getitem__, files), pa.string()))
    return table.rename_columns([translate(name) for name in table.column_names])


def _write_npz(file: BinaryIO, schema: pa.Schema, source: Source) -> None:
    """An array a column, and `oscine`, the JSON of what made it; each array is written as it is read, never held whole."""
    rows, longest = 0, 1
    for table in source(["file"]):
        rows += len(table)
        longest = max(longest, *map(len, table["file"].to_pylist()), 1)
    with zipfile.ZipFile(file, "w") as archive:
        for field in schema:
            vectors, dtype = pa.types.is_fixed_size_list(field.type), np.dtype("datetime64[us]")
            if field.name == "file":
                dtype = np.dtype(f"<U{longest}")
            elif not pa.types.is_timestamp(field.type):
                dtype = np.dtype((field.type.value_type if vectors else field.type).to_pandas_dtype())
            shape = (rows, field.type.list_size) if vectors else (rows,)
            with archive.open(f"{field.name}.npy", "w", force_zip64=True) as entry:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(entry, header)
                for table in source([field.name]):
                    entry.write(_numpy(table[field.name]).astype(dtype).tobytes())
        with archive.open("oscine.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array(schema.metadata[METADATA].decode()))


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"))
    return column.to_numpy()


def _flat(table: pa.Table) -> pa.Table:
    """Vectors as a column a number, `embedding_0` and so on."""
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns):
        if not pa.types.is_fixed_size_list(column.type):
            columns[name] = column
            continue
        numbers = _numpy(column).reshape(-1, column.type.list_size).astype(np.float32)
        columns |= {f"{name}_{number}": numbers[:, number] for number in range(column.type.list_size)}
    return pa.table(columns)


FORMATS: dict[str, Callable[[BinaryIO, pa.Schema, Source], None]] = {
    ".parquet": _write_parquet,
    ".npz": _write_npz,
    ".csv": _write_csv,
}
