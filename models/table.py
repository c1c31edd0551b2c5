"""A table of embeddings on disk: Parquet and the list of bad files beside it, both there complete or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.models.files import write_whole

ROW_GROUP = 4096  # rows that are gathered before they are written


def check_target(out: str | Path, overwrite: bool = False) -> Path:
    """The path of a table that may be written; an error before any work where it may not."""
    out = Path(out)
    if out.suffix != ".parquet":
        raise OscineError(f"the table {out} must be a Parquet file; call it {out.with_suffix('.parquet')}")
    if not out.parent.is_dir():
        raise OscineError(f"no folder {out.parent} to write {out.name} to; make it first")
    if out.is_dir():
        raise OscineError(f"{out} is a folder, expected a file to write; choose another name")
    if out.exists() and not overwrite:
        raise OscineError(
            f"{out} exists already; choose another name, or overwrite it with --overwrite (overwrite=True)"
        )
    return out


def errors_path(out: Path) -> Path:
    return out.with_suffix(".errors.csv")


class Table:
    """A Parquet file and its errors, written beside their places and moved there when both are complete."""

    def __init__(self, target: Path, dim: int, metadata: dict[str, Any]) -> None:
        self.target = target
        self.part = target.with_name(f".{target.name}.{os.getpid()}.part")
        self.schema = pa.schema(
            {
                "file": pa.string(),
                "start_time": pa.float64(),
                "end_time": pa.float64(),
                "embedding": pa.list_(pa.float32(), dim),
            },
            metadata={"oscine": json.dumps(metadata)},
        )
        self.waiting: list[pa.Table] = []

    def __enter__(self) -> Table:
        with self._writing():
            self.file = self.part.open("wb")
            self.writer = pq.ParquetWriter(self.file, self.schema, compression="zstd")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk has been told of already
            self.writer.close()
            self.file.close()
        self.part.unlink(missing_ok=True)

    def write(self, name: str, start_times: list[float], end_times: list[float], embeddings: Tensor) -> None:
        """Append a recording's rows; embeddings [clips, dim]."""
        flat = pa.array(embeddings.numpy().ravel())
        columns = [
            pa.array([name] * len(start_times)),
            pa.array(start_times),
            pa.array(end_times),
            pa.FixedSizeListArray.from_arrays(flat, self.schema.field("embedding").type.list_size),
        ]
        self.waiting.append(pa.Table.from_arrays(columns, schema=self.schema))
        if sum(len(rows) for rows in self.waiting) >= ROW_GROUP:
            self._flush()

    def finish(self, listed: dict[str, str]) -> None:
        """Put the table and the list of bad files, name to reason, in their places; the table last."""
        self._flush()
        text = io.StringIO()
        csv.writer(text).writerows([("file", "reason"), *sorted(listed.items())])
        with self._writing():
            self.writer.close()
            self.file.flush()
            os.fsync(self.file.fileno())
            write_whole(errors_path(self.target), text.getvalue().encode())
            self.part.replace(self.target)

    def _flush(self) -> None:
        if self.waiting:
            with self._writing():
                self.writer.write_table(pa.concat_tables(self.waiting), row_group_size=ROW_GROUP)
        self.waiting = []

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OscineError(
                f"{self.target} could not be written ({reason}); make room or choose another place"
            ) from None
