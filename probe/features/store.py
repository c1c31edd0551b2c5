"""Keep encoded features on disk: find a store that serves, or make room within the folder's limit and write one."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
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
from oscine.models.files import bytes_in_words, common_folder, write_whole
from oscine.models.json_text import check_fields, read_json
from oscine.models.locks import SharedLock, lock_shared, lock_wait, try_lock
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.features.encoding import DTYPES, Encoding, Shapes, by_clip, room_for
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import LabelledClips, read_batches

logger = logging.getLogger(__name__)

LIMIT = 100 * 10**9  # bytes of all stores of a folder
# Of a place that may be read alone: nothing is begun or removed there.
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
RECORD = "store.json"
LOCK, USED = "lock", "used"  # held by whoever writes it, and shared by all who need it to stay
SAVE_SECONDS = 5.0  # of work that a kill can cost, about
FIELDS = {
    "model": str | None, "recordings": str, "of": dict[str, Any], "kept": dict[str, list[int]], "bytes": int, "done": int,
}  # fmt: skip
LARGEST = 2**60  # bytes, rows or numbers that could be one of a store
OF = {"architecture": str, "dtype": str, "rows": int}


def open_store(
    encoding: Encoding,
    root: str | Path,
    *,
    limit: int = LIMIT,
    workers: int = 0,
    progress: ShowProgress = show_nothing,
) -> Store | Encoding:
    """Return the features of an encoding from a store below `root`: one that has them, or one that is written now.

    Killed at any moment, the same call goes on where it was; a second process that asks for the same waits until it is
    written. A store that holds more (further layers, patches where means are needed) serves as well; means are then those of
    rounded patches. Where a new store would take all of `root` beyond `limit` bytes, or fill the disk, the stores that were
    unused for longest are removed, but none that a process has open. Where even that makes too little room, no store is
    removed and the encoding itself is returned: the same bits, encoded anew each time. workers: processes that read
    recordings.
    """
    stores = Stores(Path(root).absolute(), encoding, limit)
    with writing(stores.root), stores.alone():
        if found := stores.find():
            return found
        if encoding.nbytes > (room := stores.evict()):
            logger.warning(
                "features of %d rows would take %s, %s has %s for them: a clip is encoded whenever it is needed",
                len(encoding.clips), bytes_in_words(encoding.nbytes), root, bytes_in_words(max(0, room)),
            )  # fmt: skip
            return encoding
        reserved = stores.reserve()
    with reserved or nullcontext():
        return stores.write(workers, progress)


class Stores:
    """The stores below a folder, for one encoding: find one that serves it, or evict others, reserve a place and write.

    Three locks keep processes out of each other's way. `root`/lock: one process at a time finds, evicts and reserves.
    STORE/used: shared by all who read or will write a store; who gets it unshared may evict the store. STORE/lock: one
    process writes it, others that want the same wait.
    """

    def __init__(self, root: Path, encoding: Encoding, limit: int) -> None:
        self.root, self.encoding, self.limit = root, encoding, limit
        self.origin, self.kept = encoding.origin(), encoding.kept()
        digest = hashlib.sha256(json.dumps([self.origin, self.kept], sort_keys=True).encode()).hexdigest()
        self.folder = root / f"{self.origin['architecture']}-{digest[:24]}"  # of a store of its own

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process find, evict or reserve a store below the folder, for the block."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            lock: AbstractContextManager[object] = lock_wait(
                self.root / LOCK, f"looking after the stores in {self.root}"
            )
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            lock = nullcontext()
        with lock:
            yield

    def find(self) -> Store | None:
        """Open a whole store that serves: the encoding's own, or the smallest that holds more."""
        records = _records(self.root)
        able = [
            place
            for place, record in records.items()
            if record["of"] == self.origin
            and rows_done(place) == self.origin["rows"]
            and _covers(record["kept"], self.kept)
        ]
        if not able:
            return None
        found = min(able, key=lambda place: (place != self.folder, records[place]["bytes"]))
        with suppress(OSError):  # of a place that may be read alone
            os.utime(found / RECORD)  # which says when it was used last
        return self.open(found)

    def evict(self) -> int:
        """Remove stores that nobody has open, the longest unused first, and return the bytes that a new one may take.

        Where removing all of them would not make room enough, none is removed.
        """
        records = {place: record for place, record in _records(self.root).items() if place != self.folder}
        needed = self.encoding.nbytes
        within = self.limit - sum(record["bytes"] for record in records.values())
        free = shutil.disk_usage(self.root).free + _size(self.folder)
        with ExitStack() as locks:
            leaving = []
            for place in sorted(records, key=lambda place: (place / RECORD).stat().st_mtime):
                if needed <= min(within, free):
                    break
                if lock := try_lock(place / USED):
                    locks.enter_context(lock)
                    leaving.append((place, lock))
                    within, free = within + records[place]["bytes"], free + _size(place)
            if needed <= min(within, free):
                for place, lock in leaving:
                    _remove(place, lock)
        return min(within, free)

    def reserve(self) -> SharedLock | None:
        """Begin the encoding's own store, whose bytes count from now on, and return the lock by which it stays."""
        logger.debug(
            "features of %d rows take %s in %s",
            len(self.encoding.clips), bytes_in_words(self.encoding.nbytes), self.folder,
        )  # fmt: skip
        self.folder.mkdir(exist_ok=True)
        if not record_of(self.folder):  # says what it is for, and how much it will take, before there is anything in it
            model = (self.encoding.encoder.provenance or {}).get("model")
            about = {"model": model, "recordings": common_folder(self.encoding.clips.paths), "of": self.origin}
            _note(self.folder, about | {"kept": self.kept, "bytes": self.encoding.nbytes, "done": 0})
        return lock_shared(self.folder / USED)

    def write(self, workers: int, progress: ShowProgress) -> Store:
        """Write the reserved store, or wait for the process that does, and open it."""
        with writing(self.folder):
            lock = lock_wait(self.folder / LOCK, f"encoding the same clips into {self.folder}")
        with lock:
            _write_rows(self.encoding, self.folder, workers, progress)
        return self.open(self.folder)

    def open(self, place: Path) -> Store:
        """Open a store that holds what is to be kept."""
        held = record_of(place)["kept"]["layers"]
        layers = [held.index(layer) for layer in self.kept["layers"]]
        return Store(place, self.encoding.needs, self.encoding.shapes, layers)


class Store:
    """The features on disk, read row by row, no more than is taken. While it lives, nobody removes them.

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
        """Read the features of rows by number, in float32, on the CPU."""
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


def bytes_below(root: Path) -> int:
    """Count the bytes that all stores of a folder take, or will once they are whole."""
    return sum(record["bytes"] for record in _records(root).values())


def _records(root: Path) -> dict[Path, dict[str, Any]]:
    """Read the record of every store of a folder; a damaged one is left out, which is logged."""
    found = {}
    for path in root.glob(f"*/{RECORD}"):
        try:
            found[path.parent] = record_of(path.parent)
        except OscineError as error:
            logger.warning("a store is passed over: %s", error)
    return {place: record for place, record in found.items() if record}


def record_of(folder: Path) -> dict[str, Any]:
    """Read what a folder says that it holds; raise where that can be no store's."""
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
    """Count the rows that are on the disk for good; none where a file is gone or too short for what was done."""
    if not (record := record_of(folder)):
        return 0
    done, itemsize = record["done"], DTYPES[record["of"]["dtype"]].itemsize
    for name in Features._fields:
        file, size = folder / f"{name}.npy", done * math.prod(record["kept"][name]) * itemsize
        if size and (not file.exists() or file.stat().st_size < size):
            return 0
    return done


def _write_rows(encoding: Encoding, folder: Path, workers: int, progress: ShowProgress) -> None:
    """Write all rows that are missing, in order. What `store.json` says is done is on the disk for good.

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
    """Open a NumPy file of that shape for writing at a row."""
    path.touch()
    with path.open("r+b") as file:
        header = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.seek(row * math.prod(shape[1:]) * np.dtype(dtype).itemsize, os.SEEK_CUR)
        yield file


def _covers(held: dict[str, list[int]], wanted: dict[str, list[int]]) -> bool:
    """Tell whether what is held is, or can be averaged to, what is wanted."""
    return set(wanted["layers"]) <= set(held["layers"]) and all(
        math.prod(held[name]) and all(size in (1, there) for size, there in zip(wanted[name][1:], held[name][1:]))
        for name in Features._fields
        if math.prod(wanted[name])
    )


def _size(folder: Path) -> int:
    """Count the bytes of a store on the disk."""
    return sum(path.stat().st_size for path in folder.glob("*.npy"))


def _remove(place: Path, lock: SharedLock) -> None:
    """Remove a store whose lock is held; killed meanwhile, it is one that is not whole."""
    record, used = record_of(place), datetime.fromtimestamp((place / RECORD).stat().st_mtime)
    logger.warning(
        "removing %s to make room: %s of features of %s, made by %s, not used since %s",
        place, bytes_in_words(record["bytes"]), record["recordings"], record["model"] or record["of"]["architecture"],
        f"{used:%Y-%m-%d %H:%M}",
    )  # fmt: skip
    for file in [*place.glob("*.npy"), *place.glob(".*.part"), place / LOCK, place / f"{LOCK}.json"]:
        file.unlink(missing_ok=True)
    lock.close()  # Windows removes no file that is open; to take the store meanwhile needs the folder's lock
    for file in (place / USED, place / RECORD):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # where there is something of somebody else's in it
        place.rmdir()
