"""Tables of embeddings with made-up numbers, as `oscine embed` would write them, and labels beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oscine import __version__
from oscine.models.embed.table import schema_of
from oscine.models.embed.table_metadata import Keys

SECONDS = 1.0


def write_embeddings(path: Path, files: list[str], columns: dict[str, np.ndarray]) -> Path:
    """Write a clip of each file, with vectors [files, dim] of one width a column."""
    dim = next(iter(columns.values())).shape[1]
    keys = {"file": files, "start_time": [0.0] * len(files), "end_time": [SECONDS] * len(files)}
    content = Keys()
    content.add(pa.table(keys))
    made_by = {
        "version": __version__, "model": "made_up", "fingerprint": "", "architecture": "", "frontend": "", "config": {},
        "dim": dim, "sample_rate": 16_000, "clip_seconds": SECONDS, "hop_seconds": SECONDS, "dtype": "float32",
        "precision": "float32", "shard": "1/1", "folder": {"recordings": len(files), "names": ""}, "channel": "mix",
        "columns": {name: {"pool": "pooled" if name == "embedding" else "cls", "layer": 0} for name in columns},
        "content": content.describe(listed=0),
    }  # fmt: skip
    schema = schema_of(dict.fromkeys(columns, dim), metadata=made_by)
    vectors = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel().astype(np.float32)), dim)
        for name, numbers in columns.items()
    }
    pq.write_table(pa.table({**keys, **vectors}, schema=schema), path, write_page_checksum=True)
    return path


def write_labels(path: Path, labels: list[str], folds: list[int]) -> list[str]:
    """Write a labelled table of empty recordings beside it, and return their names. ";" separates labels of a clip."""
    files = [f"{number:03}.wav" for number in range(len(labels))]
    for name in files:
        (path.parent / name).touch()
    rows = [f"{name},{label},{fold}" for name, label, fold in zip(files, labels, folds, strict=True)]
    path.write_text("\n".join(["path,labels,fold", *rows]) + "\n")
    return files
