"""Encode once: the frozen features of a task's rows on disk, mapped into memory by every probe, fold, seed and draw."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import Subset

from oscine import __version__
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.files import wait_for, write_whole
from oscine.models.layers import PATCH
from oscine.models.precision import AUTO, FLOAT32, check_precision, check_survives, computing, faster_precision
from oscine.models.table import writing
from oscine.models.vectors import evaluating, fingerprint
from oscine.probe.data import LabelledClips, Task, read_batches
from oscine.probe.probe import Needs

logger = logging.getLogger(__name__)

LAYOUT = 1  # of a store's files; stores of another one are written anew
DTYPES = {"float16": torch.float16, "float32": torch.float32}
LIMIT = 100 * 10**9  # bytes
RECORD, LOCK = "store.json", "lock"
SAVE_SECONDS = 5.0  # of work that a kill can cost, about
Shapes = dict[str, tuple[int, ...]]  # of one row, by the field of `Features`: [layer, ...]; pooled has no layers


class Encoding:
    """The features of a task's rows, encoded anew whenever they are taken, and rounded as a store holds them.

    A row has the same bits whichever rows it is taken with: it is always encoded with the same neighbours of the task, since
    sums in another batch, or at another place in it, are rounded in other ways.

    encoder: in eval mode meanwhile. needs: what is kept. seconds: length of a clip, if not the encoder's. batch_size: rows
    that are encoded together, which a GPU is faster with; for one of them that is taken, all are encoded. dtype: float16 or
    float32, of what is kept. precision: of the encoder, float32, bfloat16, or auto: bfloat16 where that is faster.
    """

    def __init__(
        self,
        encoder: Encoder,
        task: Task,
        needs: Needs,
        seconds: float | None = None,
        batch_size: int = 1,
        dtype: str = "float16",
        precision: str = FLOAT32,
    ) -> None:
        if dtype not in DTYPES:
            raise OscineError(f"no dtype {dtype!r}; choose from {', '.join(DTYPES)}")
        if batch_size < 1:
            raise OscineError(f"a batch of {batch_size} clips; the encoder needs at least 1")
        check_precision(precision)
        self.precision = faster_precision(encoder.device) if precision == AUTO else precision
        check_survives(self.precision, encoder.device)
        self.encoder, self.needs, self.batch_size, self.dtype = encoder, needs, batch_size, dtype
        self.clips = LabelledClips(task.rows, encoder.sample_rate, seconds or encoder.seconds)
        self.shapes = shapes_of(encoder, needs, seconds)
        self.nbytes = count_bytes(encoder, needs, len(self.clips), seconds, dtype)

    def take(self, rows: Tensor, /) -> Features:
        """The features of rows by number, in float32, on the CPU."""
        numbers, places = np.divmod(rows.numpy(), self.batch_size)  # of batches, and in them
        taken = {name: np.empty((len(rows), *shape), self.dtype) for name, shape in self.shapes.items()}
        for number in np.unique(numbers):
            first, here = number * self.batch_size, numbers == number
            batch = range(first, min(first + self.batch_size, len(self.clips)))
            arrays = self.arrays([self.clips[row] for row in batch])
            for name, array in taken.items():
                array[here] = arrays[name][places[here]]
        return as_features(taken)

    @torch.inference_mode()
    def arrays(self, clips: Sequence[Tensor]) -> dict[str, np.ndarray]:
        """What is kept of a batch of clips, [samples] each: by the field of `Features`, [clip, layer, ...]."""
        encoder = self.encoder
        with evaluating(encoder), computing(self.precision, encoder.device):
            features = encoder.features(encoder.spectrogram(clips, self.clips.samples), self.needs.layers)
        kept = self.needs.take(features.to(torch.float32))
        return {
            "cls": self.rounded(rearrange(kept.cls, "layer clip dim -> clip layer dim")),
            "patches": self.rounded(rearrange(kept.patches, "layer clip time freq dim -> clip layer time freq dim")),
            "pooled": self.rounded(kept.pooled),
        }

    def rounded(self, tensor: Tensor) -> np.ndarray:
        made = tensor.to(DTYPES[self.dtype])
        if not tensor.isfinite().all():
            raise OscineError("features are not finite; the encoder's weights are broken")
        if not made.isfinite().all():
            raise OscineError(f"features reach {tensor.abs().max():.0f}, beyond float16; take dtype float32")
        return made.contiguous().cpu().numpy()

    def origin(self) -> dict[str, Any]:
        """All that could change a number, in JSON; a recording counts as the same with its path, size and time."""
        encoder, clips = self.encoder, self.clips
        stamps = {path: stamp(path) for path in dict.fromkeys(clips.paths)}
        rows = [(path, *stamps[path], *times) for path, *times in zip(clips.paths, clips.starts, clips.seconds)]
        return {
            "layout": LAYOUT,
            "version": __version__,
            "torch": torch.__version__,
            "fingerprint": fingerprint(encoder),
            "architecture": type(encoder).__name__,
            "frontend": type(encoder.frontend).__name__,
            "config": json.loads(json.dumps(encoder.config)),  # as it will be read again
            "device": encoder.device.type,
            "precision": self.precision,
            "matmul": torch.get_float32_matmul_precision(),
            "batch_size": self.batch_size,
            "samples": clips.samples,
            "dtype": self.dtype,
            "rows": len(clips),
            "rows_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        }

    def kept(self) -> dict[str, list[int]]:
        """Layers and shapes, in JSON."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"layers": self.encoder.layer_numbers(self.needs.layers), **shapes}


class Store:
    """Features on disk, row by row; no more of them is read than is taken.

    folder: has cls.npy, patches.npy, pooled.npy, [row, layer, ...]. needs: what is handed out. shapes: of a row of it.
    places: of the needed layers among those that the folder has.
    """

    def __init__(self, folder: Path, needs: Needs, shapes: Shapes, places: Sequence[int]) -> None:
        self.needs, self.shapes, self.places = needs, shapes, places
        wanted = [name for name, shape in shapes.items() if math.prod(shape)]
        self.arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in wanted}

    def take(self, rows: Tensor, /) -> Features:
        """The features of rows by number, in float32, on the CPU."""
        return self.needs.take(as_features({name: self._read(name, rows.numpy()) for name in self.shapes}))

    def _read(self, name: str, rows: np.ndarray) -> np.ndarray:
        if name not in self.arrays:
            return np.empty((len(rows), *self.shapes[name]), np.float32)
        array = self.arrays[name]
        all_layers = name == "pooled" or list(self.places) == list(range(array.shape[1]))
        return array[rows] if all_layers else array[rows[:, None], self.places]


def open_store(
    encoding: Encoding,
    root: str | Path,
    limit: int = LIMIT,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Store | Encoding:
    """The features of an encoding, from a store below `root`: one that has them, or one that is written now.

    Killed at any moment, the same call goes on where it was; whoever wants what another process is writing waits for it. A
    store that holds more (further layers, patches where means are needed) serves as well, means then being those of rounded
    patches. Where `limit` bytes or the room on the disk do not suffice, the encoding itself is handed back, with the same
    bits at the price of encoding whatever is taken. workers: processes that read recordings.
    """
    root = Path(root).absolute()
    origin, kept = encoding.origin(), encoding.kept()
    folder = root / _name(origin, kept)
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        room = min(limit, shutil.disk_usage(root).free + sum(path.stat().st_size for path in folder.glob("*.npy")))
    if not (found := _find(root, folder, origin, kept)):
        if encoding.nbytes > room:
            logger.warning(
                "features of %d rows would take %.1f GB, %s may take %.1f: a clip is encoded whenever it is needed",
                len(encoding.clips), encoding.nbytes / 1e9, root, room / 1e9,
            )  # fmt: skip
            return encoding
        logger.info("features of %d rows take %.1f GB in %s", len(encoding.clips), encoding.nbytes / 1e9, folder)
        with writing(folder):
            folder.mkdir(exist_ok=True)
            lock = wait_for(folder / LOCK)  # for it to be whole, where another process is writing it
        with lock:
            _write(encoding, folder, origin, kept, workers, progress)
        found = folder
    held = _record(found)["kept"]["layers"]
    return Store(found, encoding.needs, encoding.shapes, [held.index(layer) for layer in kept["layers"]])


def count_bytes(encoder: Encoder, needs: Needs, rows: int, seconds: float | None = None, dtype: str = "float16") -> int:
    """Of a store of so many rows."""
    numbers = sum(math.prod(shape) for shape in shapes_of(encoder, needs, seconds).values())
    return rows * numbers * DTYPES[dtype].itemsize


def shapes_of(encoder: Encoder, needs: Needs, seconds: float | None = None) -> Shapes:
    """Of what `needs` takes of a clip."""
    layers, samples = (
        len(encoder.layer_numbers(needs.layers)),
        round((seconds or encoder.seconds) * encoder.sample_rate),
    )
    time, freq = encoder.frontend.frames(samples) // PATCH, encoder.grid[1]
    with torch.device("meta"):  # shapes without numbers
        one = Features(
            cls=torch.empty(layers, 1, encoder.dim),
            patches=torch.empty(layers, 1, time, freq, encoder.dim),
            pooled=torch.empty(1, encoder.dim),
        )
    kept = needs.take(one)
    return {"cls": kept.cls[:, 0].shape, "patches": kept.patches[:, 0].shape, "pooled": kept.pooled[0].shape}


def as_features(arrays: Mapping[str, np.ndarray]) -> Features:
    """[clip, layer, ...] of any dtype by the field of `Features`, in float32 and in their order of axes."""
    cls, patches, pooled = (torch.from_numpy(arrays[name]) for name in Features._fields)
    return Features(
        cls=_floats(rearrange(cls, "clip layer dim -> layer clip dim")),
        patches=_floats(rearrange(patches, "clip layer time freq dim -> layer clip time freq dim")),
        pooled=_floats(pooled),
    )


def stamp(path: str) -> tuple[int, int]:
    """Size in bytes of a recording, or of the tar file that it is in, and when it was last changed, in ns."""
    folder = os.path.dirname(path)
    try:
        status = os.stat(folder if os.path.isfile(folder) else path)
    except OSError as error:
        raise OscineError(f"{path} could not be opened ({error.strerror}); check the disk or the path") from None
    return status.st_size, status.st_mtime_ns


def _floats(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32, memory_format=torch.contiguous_format).contiguous()  # in one pass from float16


def _name(origin: dict[str, Any], kept: dict[str, list[int]]) -> str:
    digest = hashlib.sha256(json.dumps([origin, kept], sort_keys=True).encode()).hexdigest()
    return f"{origin['architecture']}-{digest[:24]}"


def _find(root: Path, folder: Path, origin: dict[str, Any], kept: dict[str, list[int]]) -> Path | None:
    """A whole store with what is to be kept: that of `folder`, or the smallest that holds more."""
    records = {path.parent: _record(path.parent) for path in root.glob(f"*/{RECORD}")}
    able = [
        place
        for place, record in records.items()
        if record.get("of") == origin and _done(place) == origin["rows"] and _covers(record["kept"], kept)
    ]
    return min(able, key=lambda place: (place != folder, records[place]["bytes"]), default=None)


def _covers(held: dict[str, list[int]], wanted: dict[str, list[int]]) -> bool:
    """Whether what is held is, or can be averaged to, what is wanted."""
    return set(wanted["layers"]) <= set(held["layers"]) and all(
        math.prod(held[name]) and all(size in (1, there) for size, there in zip(wanted[name][1:], held[name][1:]))
        for name in Features._fields
        if math.prod(wanted[name])
    )


def _record(folder: Path) -> dict[str, Any]:
    """What a folder says that it holds."""
    try:
        return json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return {}


def _done(folder: Path) -> int:
    """Rows that are on the disk for good; none where a file is gone or too short for what was done."""
    if not (record := _record(folder)):
        return 0
    done, itemsize = record["done"], DTYPES[record["of"]["dtype"]].itemsize
    for name in Features._fields:
        file, size = folder / f"{name}.npy", done * math.prod(record["kept"][name]) * itemsize
        if size and (not file.exists() or file.stat().st_size < size):
            return 0
    return done


def _write(
    encoding: Encoding,
    folder: Path,
    origin: dict[str, Any],
    kept: dict[str, list[int]],
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    """All rows that are missing, in order. What `store.json` says is done is on the disk for good."""
    done, rows = _done(folder), len(encoding.clips)
    if done == rows:
        return
    for left in folder.glob(f".{RECORD}.*.part"):  # by who was killed while writing it
        left.unlink()
    about = {
        "model": (encoding.encoder.provenance or {}).get("model"),
        "recordings": os.path.commonpath([os.path.dirname(path) for path in encoding.clips.paths]),
    }
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
                record = about | {"of": origin, "kept": kept, "bytes": encoding.nbytes, "done": done}
                write_whole(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())
                saved = time.monotonic()
            progress(done, rows)


def _at_row(path: Path, shape: tuple[int, ...], dtype: str, row: int) -> BinaryIO:
    """A NumPy file of that shape, open for writing at a row."""
    path.touch()
    file = path.open("r+b")
    header = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    file.seek(row * math.prod(shape[1:]) * np.dtype(dtype).itemsize, os.SEEK_CUR)
    return file
