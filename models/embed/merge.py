"""Merge the tables of several jobs: all shards of a folder, in the order that one job would have written."""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from oscine.models.audio.shard import ALL, parse_shard
from oscine.models.embed.table import (
    Summary,
    check_absent,
    check_ours,
    check_target,
    read_listed,
    read_schema,
    read_tables,
    with_metadata,
    write_table,
    writing,
)
from oscine.models.embed.table_metadata import CONTENT, made_by
from oscine.models.errors import OscineError
from oscine.models.json_text import differences
from oscine.models.locks import lock_exclusive

LOCK = "lock"
PART = re.compile(r"(table|errors|metadata)|\.(table|errors|metadata)\.\d+\.part")  # in a folder of work
SHOWN = 5  # shards that an error names


class Shards(NamedTuple):
    """Tables that belong together, in the order of their numbers, and what made them all."""

    paths: list[Path]
    schema: pa.Schema

    def rows(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Yield all rows in the order of file and time."""
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
    """Join the Parquet tables of all shards of a folder, and their error lists, into `out` (.parquet, .npz or .csv).

    They must have been made in the same way, of a folder with the same content, and none may be missing or given twice.
    """
    target, paths = check_target(out), [Path(shard) for shard in shards]
    if not paths:
        raise OscineError("no tables to join; name those of all shards")
    if target.exists() and any(path.exists() and path.samefile(target) for path in paths):
        raise OscineError(f"{target} is to be written, and is one of the tables to join; give it another name")
    with _working(target, overwrite) as work:
        joined = _check(paths)
        listed = {name: reason for path in joined.paths for name, reason in read_listed(path).items()}
        return write_table(target, work, joined.schema, source=joined.rows, listed=listed)


@contextmanager
def _working(target: Path, overwrite: bool) -> Iterator[Path]:
    """Make a folder for what is half written, which goes with the block; what a killed call has left goes, too."""
    work = target.with_name(f".{target.name}.merge")
    for other in target.parent.glob(f".{glob.escape(target.name)}.*.part"):  # where 0.1 worked
        if other.is_dir() and all(path.stem == LOCK or PART.fullmatch(path.name) for path in other.iterdir()):
            shutil.rmtree(other, ignore_errors=True)
    with writing(target):
        work.mkdir(exist_ok=True)
        lock = lock_exclusive(work / LOCK, f"writing {target}", "choose another name")
    try:
        (check_ours if overwrite else check_absent)(target)
        yield work
    finally:
        for left in work.glob("*"):
            if PART.fullmatch(left.name):
                left.unlink(missing_ok=True)
        lock.close()
        with suppress(OSError):  # where there is something of somebody else's in it
            work.rmdir()


def _check(paths: list[Path]) -> Shards:
    schemas = {path: read_schema(path) for path in paths}
    made = {path: made_by(schema, path) for path, schema in schemas.items()}
    first = paths[0]
    for path in paths[1:]:
        _check_together(first, made[first], path, made[path])
        if schemas[path].names != schemas[first].names or schemas[path].types != schemas[first].types:
            raise OscineError(f"{first} and {path} have other columns; make the shards again in the same way")
    of = parse_shard(made[first]["shard"]).of
    numbers = [parse_shard(made[path]["shard"]).number for path in paths]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    missing = sorted(set(range(1, of + 1)) - set(numbers))
    if twice or missing:
        what, which = ("given twice", twice) if twice else ("missing", missing)
        some = ", ".join(f"{number}/{of}" for number in which[:SHOWN]) + f" and {len(which) - SHOWN} more" * (
            len(which) > SHOWN
        )
        raise OscineError(f"shard {some} {'is' if len(which) == 1 else 'are'} {what}; name each shard's table once")
    ordered = [path for _, path in sorted(zip(numbers, paths))]
    whole = {key: value for key, value in made[first].items() if key != CONTENT}
    return Shards(ordered, with_metadata(schemas[first], whole | {"shard": str(ALL)}))


def _check_together(first: Path, made: dict[str, Any], other: Path, made_other: dict[str, Any]) -> None:
    aside = ["shard", "model", CONTENT]  # a model may be spelt in several ways; its fingerprint tells
    differ = differences(made_other, made, aside=[*aside, "folder"])
    if not differ and made["folder"] != made_other["folder"]:
        raise OscineError(
            f"{first} was made when the folder held {made['folder']['recordings']} recordings, {other} when it held "
            f"{made_other['folder']['recordings']}, or others; make the older one again, with overwrite"
        )
    if not differ and parse_shard(made["shard"]).of != parse_shard(made_other["shard"]).of:
        differ = differences({"shard": made_other["shard"]}, {"shard": made["shard"]})
    if differ:
        alone = len(differ) == 1 and differ[0].startswith("precision ")
        advice = "; make one of them again with the other's --precision" if alone else ""
        raise OscineError(f"{other} does not belong to {first}: it was made with {'; '.join(differ)}{advice}")


def _runs(shard: int, path: Path, columns: Sequence[str] | None) -> Iterator[Run]:
    for table in read_tables(path, columns):
        files, starts = table["file"].to_pylist(), table["start_time"].to_pylist()
        chosen = (table if columns is None else table.select(columns)).replace_schema_metadata(None)
        begins = [row for row in range(len(files)) if not row or files[row] != files[row - 1]]
        for begin, end in zip(begins, [*begins[1:], len(files)]):
            yield Run(files[begin], starts[begin], shard, chosen.slice(begin, end - begin))
