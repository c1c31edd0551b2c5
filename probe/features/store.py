"""Encode once: the frozen features of a task's rows on disk, mapped into memory by every probe, fold, seed and draw."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from oscine.models.embed.table import writing
from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.models.files import common_folder, write_whole
from oscine.models.json_text import check_fields, read_json
from oscine.models.locks import lock_shared
from oscine.probe.features.encoding import DTYPES, Encoding, Shapes, by_clip, room_for
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import LabelledClips, read_batches

RECORD = "store.json"
LOCK, USED = "lock", "used"  # held by whoever writes it, and shared by all who need it to stay
SAVE_SECONDS = 5.0  # of work that a kill can cost, about
FIELDS = {
    "model": str | None, "recordings": str, "of": dict[str, Any], "kept": dict[str, list[int]], "bytes": int, "done": int,
}  # fmt: skip
LARGEST = 2**60  # bytes, rows or numbers that could be one of a store
OF = {"architecture": str, "dtype": str, "rows": int}


class Store:
    """Features on disk, row by row; no more of them is read than is taken. While it lives, nobody removes them.

    folder: has cls.npy, patches.npy, pooled.npy, [row, layer, ...]. needs: what is handed out. shapes: of a row of it.
    places: of the needed layers among those that the folder has.
    """

    def __init__(self, folder: Path, needs: Needs, shapes: Shapes, places: Sequence[int]) -> None:
        self.used = lock_shared(folder / USED)
        self.folder = folder
        self.needs, self.shapes = needs, dict(shapes)
        self.tensors: dict[str, Tensor] = {}
        self.chosen: dict[str, slice | list[int]] = {}
        for name in (name for name, shape in shapes.items() if math.prod(shape)):
            array = _open_array(folder, name)
            everything = name == "pooled" or list(places) == list(range(array.shape[1]))
            self.tensors[name], self.chosen[name] = torch.from_numpy(array), slice(None) if everything else list(places)
            self.shapes[name] = tuple(self.tensors[name][0][self.chosen[name]].shape)

    def take(self, rows: Tensor, /) -> Features:
        """The features of rows by number, in float32, on the CPU."""
        taken = room_for(len(rows), self.shapes)
        clips = by_clip(taken)
        for place in rows.argsort().tolist():  # in the order of the disk; a row is a block there
            for name, tensor in self.tensors.items():
                clips[name][place] = tensor[rows[place]][self.chosen[name]]
        for name in self.tensors:
            if not clips[name].isfinite().all():
                raise OscineError(f"{self.folder / name}.npy holds numbers that are not finite; {_anew(self.folder)}")
        return self.needs.take(taken)


def _open_array(folder: Path, name: str) -> np.ndarray:
    """Open the features of a store, [row, layer, ...], as its record says that they are."""
    record, path = record_of(folder), folder / f"{name}.npy"
    try:
        # A private mapping, since torch wants to be able to write.
        array = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:  # of its header, which is Python
        raise OscineError(f"{path} cannot be read ({str(error)[:80]}); {_anew(folder)}") from None
    expected = (record["of"]["rows"], *record["kept"][name])
    if not isinstance(array, np.ndarray) or array.shape != expected or array.dtype != record["of"]["dtype"]:
        raise OscineError(f"{path} holds no {record['of']['dtype']} of the shape {expected}; {_anew(folder)}")
    return np.asarray(array)


def _anew(folder: Path) -> str:
    return f"delete {folder}, which is encoded again"


def name_of(origin: dict[str, Any], kept: dict[str, list[int]]) -> str:
    """Of the folder of what is kept of an encoding."""
    digest = hashlib.sha256(json.dumps([origin, kept], sort_keys=True).encode()).hexdigest()
    return f"{origin['architecture']}-{digest[:24]}"


def record_of(folder: Path) -> dict[str, Any]:
    """What a folder says that it holds; an error where that can be no store's."""
    path, anew = folder / RECORD, _anew(folder)
    try:
        record = check_fields(read_json(path, anew), FIELDS, path, anew)
    except FileNotFoundError:
        return {}
    of, kept = check_fields(record["of"], OF, path, anew), record["kept"]
    check_fields(kept, {"layers": list[int], **dict.fromkeys(Features._fields, list[int])}, path, anew)
    sizes = [of["rows"], record["bytes"], record["done"], *(size for name in Features._fields for size in kept[name])]
    if of["dtype"] not in DTYPES or min(sizes) < 0 or max(sizes) > LARGEST or record["done"] > of["rows"]:
        raise OscineError(f"{path} has a dtype or sizes that no store has; {anew}")
    return record


def rows_done(folder: Path) -> int:
    """Rows that are on the disk for good; none where a file is gone or too short for what was done."""
    if not (record := record_of(folder)):
        return 0
    done, itemsize = record["done"], DTYPES[record["of"]["dtype"]].itemsize
    for name in Features._fields:
        file, size = folder / f"{name}.npy", done * math.prod(record["kept"][name]) * itemsize
        if size and (not file.exists() or file.stat().st_size < size):
            return 0
    return done


def begin(encoding: Encoding, folder: Path, origin: dict[str, Any]) -> None:
    """A folder that says what it is for, and how much it will take, before there is anything in it."""
    folder.mkdir(exist_ok=True)
    if not record_of(folder):
        about = {
            "model": (encoding.encoder.provenance or {}).get("model"),
            "recordings": common_folder(encoding.clips.paths),
        }
        _note(folder, about | {"of": origin, "kept": encoding.kept(), "bytes": encoding.nbytes, "done": 0})


def write(encoding: Encoding, folder: Path, workers: int, progress: Callable[[int, int], None]) -> None:
    """All rows that are missing, in order. What `store.json` says is done is on the disk for good.

    Killed at any moment, the same call goes on where it was. For one process at a time.
    """
    done, rows = rows_done(folder), len(encoding.clips)
    if done == rows:
        return
    for left in folder.glob(f".{RECORD}.*.part"):  # by who was killed while writing it
        left.unlink()
    rest = cast(LabelledClips, Subset(encoding.clips, range(done, rows)))
    saved = time.monotonic()
    with writing(folder), ExitStack() as stack:
        files = {
            name: stack.enter_context(_at_row(folder / f"{name}.npy", (rows, *shape), encoding.dtype, done))
            for name, shape in encoding.shapes.items()
            if math.prod(shape)
        }
        for batch in read_batches(rest, encoding.batch_size, workers):
            arrays = encoding.arrays(batch)
            for name, file in files.items():
                file.write(arrays[name].data)
            done += len(batch)
            if done == rows or time.monotonic() - saved > SAVE_SECONDS:
                for file in files.values():
                    file.flush()
                    os.fsync(file.fileno())
                _note(folder, record_of(folder) | {"done": done})
                saved = time.monotonic()
            progress(done, rows)


def _note(folder: Path, record: dict[str, Any]) -> None:
    write_whole(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())


@contextmanager
def _at_row(path: Path, shape: tuple[int, ...], dtype: str, row: int) -> Iterator[BinaryIO]:
    """A NumPy file of that shape, open for writing at a row."""
    path.touch()
    with path.open("r+b") as file:
        header = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.seek(row * math.prod(shape[1:]) * np.dtype(dtype).itemsize, os.SEEK_CUR)
        yield file
