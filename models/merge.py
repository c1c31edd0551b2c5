"""The tables of several jobs as one: all shards of a folder, in the order that one job alone would have written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from heapq import merge
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.errors import OscineError
from oscine.models.survey import ALL, parse_shard
from oscine.models.table import (
    METADATA,
    ROW_GROUP,
    Summary,
    check_absent,
    check_target,
    errors_path,
    read_errors,
    read_schema,
    with_metadata,
    write_table,
    writing,
)


class Shards(NamedTuple):
    """Tables that belong together, in the order of their numbers, and what made them all."""

    paths: list[Path]
    schema: pa.Schema

    def rows(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """All rows in the order of file and time."""
        last, earlier = "", -1
        runs = [_runs(number, path, columns) for number, path in enumerate(self.paths)]
        for run in merge(*runs, key=lambda run: (run.file, run.start)):
            if run.file == last and run.shard != earlier:
                raise OscineError(
                    f"{run.file} is in {self.paths[earlier]} and in {self.paths[run.shard]}; make both again"
                )
            last, earlier = run.file, run.shard
            yield run.table


class Run(NamedTuple):
    """Consecutive rows of one recording."""

    file: str
    start: float
    shard: int
    table: pa.Table


def merge_tables(out: str | Path, shards: Sequence[str | Path], overwrite: bool = False) -> Summary:
    """Join the Parquet tables of all shards of a folder, and their error tables, into `out` (.parquet, .npz or .csv).

    They must have been made in the same way, of a folder with the same content, and none may be missing or given twice.
    """
    target = check_target(out)
    if not overwrite:
        check_absent(target)
    if not shards:
        raise OscineError("no tables to join; name those of all shards")
    joined = _check([Path(shard) for shard in shards])
    listed = {name: reason for path in joined.paths for name, reason in read_errors(errors_path(path)).items()}
    with writing(target):
        work = TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    with work as folder:
        return write_table(target, Path(folder), joined.schema, joined.rows, listed)


def _check(paths: list[Path]) -> Shards:
    schemas = {path: read_schema(path) for path in paths}
    made = {path: json.loads(schema.metadata[METADATA]) for path, schema in schemas.items()}
    first = paths[0]
    for path in paths[1:]:
        _check_same(first, made[first], path, made[path])
    of = parse_shard(made[first]["shard"]).of
    numbers = [parse_shard(made[path]["shard"]).number for path in paths]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    missing = sorted(set(range(1, of + 1)) - set(numbers))
    if twice or missing:
        what, which = ("given twice", twice) if twice else ("missing", missing)
        raise OscineError(
            f"shard {', '.join(f'{number}/{of}' for number in which)} is {what}; name each shard's table once"
        )
    ordered = [path for _, path in sorted(zip(numbers, paths))]
    return Shards(ordered, with_metadata(schemas[first], made[first] | {"shard": str(ALL)}))


def _check_same(first: Path, made: dict[str, Any], other: Path, made_other: dict[str, Any]) -> None:
    aside = ("shard", "model")  # a model may be spelt in several ways; its fingerprint tells
    differ = [key for key in made | made_other if key not in aside and made.get(key) != made_other.get(key)]
    if differ == ["folder"]:
        raise OscineError(
            f"{first} was made when the folder held {made['folder']['recordings']} recordings, {other} when it held "
            f"{made_other['folder']['recordings']}, or others; make the older one again, with overwrite"
        )
    said = "; ".join(f"{key} {made.get(key)!r} and {made_other.get(key)!r}" for key in differ if key != "folder")
    if not differ and parse_shard(made["shard"]).of != parse_shard(made_other["shard"]).of:
        said = f"shard {made['shard']} and {made_other['shard']}"
    if said:
        raise OscineError(f"{first} and {other} do not belong together: {said}")


def _runs(shard: int, path: Path, columns: Sequence[str] | None) -> Iterator[Run]:
    wanted = None if columns is None else list(dict.fromkeys([*columns, "file", "start_time"]))
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROW_GROUP, columns=wanted):
            table = pa.Table.from_batches([batch])
            files, starts = table["file"].to_pylist(), table["start_time"].to_pylist()
            kept = (table if columns is None else table.select(columns)).replace_schema_metadata(None)
            begins = [row for row in range(len(files)) if not row or files[row] != files[row - 1]]
            for begin, end in zip(begins, [*begins[1:], len(files)]):
                yield Run(files[begin], starts[begin], shard, kept.slice(begin, end - begin))
