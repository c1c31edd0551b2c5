"""Read features of a task from a table of `oscine embed`, for probes that read CLS, means or the pooled vector."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from oscine.models.embed.table import read_made_by, read_schema, read_table
from oscine.models.embed.table_metadata import CHANNEL, KEYS
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import LAYER_VECTORS, VECTORS, Features, Selection
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.errors import OscineError
from oscine.models.files import common_folder
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import LabelledClips, Task, warn_of_longer


def read_embedded(path: str | Path, encoder: Encoder, task: Task, needs: Needs) -> Features:
    """Read the features of every row, as `encode_task` has them, from a table in Parquet: nothing is encoded.

    A row is found by its recording, named as below the folder that was embedded, and by its start, at which one of the
    table's clips must begin; that clip must not go on after the row's end.
    """
    path = Path(path)
    made_by = check_embeddings(path)
    _check_rows(path, task.rows)
    _check_encoder(path, made_by, encoder)
    warn_of_longer(task.rows, encoder.seconds)
    columns = _columns(path, made_by, encoder, needs)
    table = read_table(path, list(columns.values()))
    places = _places(path, table, LabelledClips(task.rows, encoder.sample_rate, encoder.seconds))
    return _features(path, table, columns, encoder=encoder, needs=needs, places=places)


def read_all_embedded(path: str | Path, encoder: Encoder, needs: Needs) -> Features:
    """Read the features of every clip of a table in Parquet, in its order."""
    path = Path(path)
    made_by = check_embeddings(path)
    _check_encoder(path, made_by, encoder)
    columns = _columns(path, made_by, encoder, needs)
    table = read_table(path, list(columns.values()))
    return _features(path, table, columns, encoder=encoder, needs=needs, places=range(len(table)))


def _features(
    path: Path,
    table: pa.Table,
    columns: dict[tuple[str, int], str],
    *,
    encoder: Encoder,
    needs: Needs,
    places: Sequence[int],
) -> Features:
    """Put the columns of some of a table's places together, by pool and layer."""
    layers = encoder.layer_numbers(needs.layers)

    def vectors(pool: str, layer: int) -> Tensor:  # [row, dim], dim being 0 where they are not needed
        if (pool, layer) not in columns:
            return torch.empty(len(places), 0)
        return torch.from_numpy(vectors_of(path, table, columns[pool, layer], places))

    means = torch.stack([vectors(Selection.MEAN, layer) for layer in layers])[:, :, None, None]
    return Features(
        cls=torch.stack([vectors(Selection.CLS, layer) for layer in layers]),
        patches=means
        if Selection.MEAN in needs.parts
        else torch.empty(len(layers), len(places), 0, encoder.grid[1], encoder.dim),
        pooled=vectors(Selection.POOLED, encoder.depth - 1),
    )


def read_vectors(path: str | Path, rows: pd.DataFrame, column: str | None = None) -> np.ndarray:  # [row, dim]
    """Read one vector of every row from a table in Parquet, found as `read_embedded` finds it; no encoder is opened.

    column: of the table; by default the only one that it has, or that of the pooled vectors.
    """
    path = Path(path)
    made_by = check_embeddings(path)
    _check_rows(path, rows)
    name, seconds = choose_column(path, made_by, column), made_by["clip_seconds"]
    warn_of_longer(rows, seconds)
    table = read_table(path, [name])
    places = _places(path, table, LabelledClips(rows, made_by["sample_rate"], seconds))
    return vectors_of(path, table, name, places)


def check_embeddings(path: Path) -> dict[str, Any]:
    """Return what made a table; raise where it has no embeddings of whole clips."""
    schema, made_by = read_schema(path), read_made_by(path)
    if "columns" not in made_by:
        raise OscineError(f"{path} has no embeddings: oscine predict wrote it; give a table that oscine embed wrote")
    if CHANNEL in schema.names:
        raise OscineError(
            f"{path} has rows of every channel, a label is of all of them; embed with --channel mix or one"
        )
    return made_by


def _check_rows(path: Path, rows: pd.DataFrame) -> None:
    if CHANNEL in rows:
        raise OscineError(f"the labels are of channels, the rows of {path} are not; leave the table out")


def choose_column(path: Path, made_by: dict[str, Any], column: str | None) -> str:
    """Return the column of vectors that is asked for."""
    held = made_by["columns"]
    if column is None:
        pooled = [name for name, made in held.items() if made["pool"] == Selection.POOLED]
        if len(found := pooled or list(held)) == 1:
            return found[0]
    elif column in held:
        return column
    asked = "several columns of vectors" if column is None else f"no column {column!r}"
    raise OscineError(f"{path} has {asked}; name one of {', '.join(held)}")


def vectors_of(path: Path, table: pa.Table, column: str, places: Sequence[int]) -> np.ndarray:  # [row, dim]
    """Return the vectors of a column at some of the table's places; raise where they hold what is no number."""
    flat = table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    numbers = flat.reshape(len(table), -1)[places].astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(numbers).all(1))):
        name, start = (table[key][places[bad[0]]].as_py() for key in ("file", "start_time"))
        raise OscineError(
            f"{path} holds numbers that are not finite: {column} of {name} from {start:g} s; make it anew"
        )
    return numbers


def _check_encoder(path: str | Path, made_by: dict[str, Any], encoder: Encoder) -> None:
    mine = {
        "architecture": type(encoder).__name__,
        "frontend": encoder.frontend_name,
        "config": json.loads(json.dumps(encoder.config)),
        "fingerprint": fingerprint(encoder),
    }
    differ = [name if name != "fingerprint" else "weights" for name in mine if made_by[name] != mine[name]]
    if differ:
        model = made_by["model"] or "an encoder without a name"
        raise OscineError(
            f"{path} was made by {model}, of another {' and '.join(differ)} than this encoder; name the one that made it, "
            "or embed the recordings with this one"
        )


def _columns(path: str | Path, made_by: dict[str, Any], encoder: Encoder, needs: Needs) -> dict[tuple[str, int], str]:
    """Find the column of every needed pool and layer."""
    others = [part for part in needs.parts if part not in VECTORS]
    if others:
        raise OscineError(
            f"this probe reads {' and '.join(others)} of the encoder, a table of embeddings has "
            f"{', '.join([*LAYER_VECTORS, Selection.POOLED])} at most; "
            "leave --embeddings out, or choose another probe or pool"
        )
    layers = encoder.layer_numbers(needs.layers)
    wanted = [(pool, layer) for pool in needs.parts if pool in LAYER_VECTORS for layer in layers]
    wanted += [(Selection.POOLED, encoder.depth - 1)] if Selection.POOLED in needs.parts else []
    held = {(column["pool"], column["layer"]): name for name, column in made_by["columns"].items()}
    if missing := [pair for pair in wanted if pair not in held]:
        pool, layer = missing[0]
        options = f"--pools={','.join(needs.parts)}"
        options += "" if set(needs.parts) == {Selection.POOLED} else f" --layers={','.join(map(str, layers))}"
        raise OscineError(
            f"{path} lacks {len(missing)} of the {len(wanted)} columns that this probe reads, such as {pool} of layer "
            f"{layer}; oscine embed FOLDER --model {made_by['model']} --out TABLE {options} writes them"
        )
    return {pair: held[pair] for pair in wanted}


def _places(path: str | Path, table: pa.Table, rows: LabelledClips) -> list[int]:
    """Find the number of every row's clip in the table: columns file, start_time, end_time."""
    clips = table.select(KEYS).to_pandas()
    begins = [round(start * rows.sample_rate) for start in clips["start_time"]]
    known = {clip: place for place, clip in enumerate(zip(clips["file"], begins))}
    ends = clips["end_time"].to_numpy()
    names = _names(rows.paths, set(clips["file"]))
    found = [known.get((names[file], round(start * rows.sample_rate))) for file, start in zip(rows.paths, rows.starts)]
    for row, (file, start, seconds, place) in enumerate(zip(rows.paths, rows.starts, rows.seconds, found)):
        clip = f"{names[file]} from {start:g} s"
        if place is None:
            raise OscineError(
                f"{path} has no embedding of {found.count(None)} of {len(found)} rows, such as row {row + 2} ({clip}); "
                "embed the folder that holds them all, with a --hop that meets every start, or leave --embeddings out"
            )
        if ends[place] > start + seconds + 1 / rows.sample_rate:
            raise OscineError(
                f"{path}: row {row + 2} ({clip}) ends at {start + seconds:g} s, its embedding at {ends[place]:g} s; what "
                "comes after must not count, so leave --embeddings out"
            )
    return [place for place in found if place is not None]


def _names(paths: Collection[str], files: Collection[str]) -> dict[str, str]:
    """Name every path as the table does: below the folder under which it knows the most of them, the highest of several.

    The table of a list may name them from the root.
    """
    parts = {
        path: PurePath(os.fsencode(os.path.normpath(path)).decode(errors="backslashreplace")).parts for path in paths
    }
    shared = len(PurePath(common_folder(map(os.path.normpath, paths))).parts)
    names = [{path: PurePath(*part).as_posix() for path, part in parts.items()}]
    names += [{path: "/".join(part[above:]) for path, part in parts.items()} for above in range(1, shared + 1)]
    return max(names, key=lambda candidates: sum(name in files for name in candidates.values()))
