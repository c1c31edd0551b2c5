"""The folder that stores share: finds one that will do, or makes room for a new one within the folder's limit."""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from oscine.models.embed.table import writing
from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.models.files import bytes_in_words
from oscine.models.locks import SharedLock, lock_shared, lock_wait, try_lock
from oscine.probe.features.encoding import Encoding
from oscine.probe.features.store import LOCK, RECORD, USED, Store, begin, name_of, record_of, rows_done, write

logger = logging.getLogger(__name__)

LIMIT = 100 * 10**9  # bytes of all stores of a folder
# Of a place that may be read alone: nothing is begun or removed there.
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def open_store(
    encoding: Encoding,
    root: str | Path,
    limit: int = LIMIT,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Store | Encoding:
    """The features of an encoding, from a store below `root`: one that has them, or one that is written now.

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
        self.folder = root / name_of(self.origin, self.kept)  # of a store of its own

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For the block, no other process finds, evicts or reserves a store below the folder."""
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
        begin(self.encoding, self.folder, self.origin)
        return lock_shared(self.folder / USED)

    def write(self, workers: int, progress: Callable[[int, int], None]) -> Store:
        """Write the reserved store, or wait for the process that does, and open it."""
        with writing(self.folder):
            lock = lock_wait(self.folder / LOCK, f"encoding the same clips into {self.folder}")
        with lock:
            write(self.encoding, self.folder, workers, progress)
        return self.open(self.folder)

    def open(self, place: Path) -> Store:
        """Open a store that holds what is to be kept."""
        held = record_of(place)["kept"]["layers"]
        layers = [held.index(layer) for layer in self.kept["layers"]]
        return Store(place, self.encoding.needs, self.encoding.shapes, layers)


def bytes_below(root: Path) -> int:
    """What all stores of a folder take, or will once they are whole."""
    return sum(record["bytes"] for record in _records(root).values())


def _records(root: Path) -> dict[Path, dict[str, Any]]:
    """The record of every store of a folder; one that is damaged is nobody's, which is logged."""
    found = {}
    for path in root.glob(f"*/{RECORD}"):
        try:
            found[path.parent] = record_of(path.parent)
        except OscineError as error:
            logger.warning("a store is passed over: %s", error)
    return {place: record for place, record in found.items() if record}


def _covers(held: dict[str, list[int]], wanted: dict[str, list[int]]) -> bool:
    """Whether what is held is, or can be averaged to, what is wanted."""
    return set(wanted["layers"]) <= set(held["layers"]) and all(
        math.prod(held[name]) and all(size in (1, there) for size, there in zip(wanted[name][1:], held[name][1:]))
        for name in Features._fields
        if math.prod(wanted[name])
    )


def _size(folder: Path) -> int:
    """Bytes on the disk."""
    return sum(path.stat().st_size for path in folder.glob("*.npy"))


def _remove(place: Path, lock: SharedLock) -> None:
    """A store that is seized by a lock; killed meanwhile, it is one that is not whole."""
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
