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

    Killed at any moment, the same call goes on where it was; whoever wants what another process is writing waits for it. A
    store that holds more (further layers, patches where means are needed) serves as well, means then being those of rounded
    patches. Where a new one would take all stores of `root` beyond `limit` bytes, or the disk beyond its room, those that
    were not used for longest are removed, but none that a process has open; where even that does not suffice, none is, and
    the encoding itself is handed back, with the same bits at the price of encoding whatever is taken. workers: processes
    that read recordings.
    """
    root = Path(root).absolute()
    origin, kept = encoding.origin(), encoding.kept()
    folder = root / name_of(origin, kept)

    def opened(place: Path) -> Store:
        held = record_of(place)["kept"]["layers"]
        return Store(place, encoding.needs, encoding.shapes, [held.index(layer) for layer in kept["layers"]])

    with writing(root), _alone(root):
        if found := _find(root, folder, origin, kept):
            with suppress(OSError):  # of a place that may be read alone
                os.utime(found / RECORD)  # which says when it was used last
            return opened(found)
        room = _make_room(root, folder, encoding.nbytes, limit)
        if encoding.nbytes > room:
            logger.warning(
                "features of %d rows would take %s, %s has %s for them: a clip is encoded whenever it is needed",
                len(encoding.clips), bytes_in_words(encoding.nbytes), root, bytes_in_words(max(0, room)),
            )  # fmt: skip
            return encoding
        taken = bytes_in_words(encoding.nbytes)
        logger.debug("features of %d rows take %s in %s", len(encoding.clips), taken, folder)
        begin(encoding, folder, origin)
        reserved = lock_shared(folder / USED)
    with reserved or nullcontext():
        with writing(folder):
            lock = lock_wait(folder / LOCK, f"encoding the same clips into {folder}")
        with lock:
            write(encoding, folder, workers, progress)
        return opened(folder)


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


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """No other process finds, begins or removes a store of the folder."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        lock: AbstractContextManager[object] = lock_wait(root / LOCK, f"looking after the stores in {root}")
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        lock = nullcontext()
    with lock:
        yield


def _find(root: Path, folder: Path, origin: dict[str, Any], kept: dict[str, list[int]]) -> Path | None:
    """A whole store with what is to be kept: that of `folder`, or the smallest that holds more."""
    records = _records(root)
    able = [
        place
        for place, record in records.items()
        if record["of"] == origin and rows_done(place) == origin["rows"] and _covers(record["kept"], kept)
    ]
    return min(able, key=lambda place: (place != folder, records[place]["bytes"]), default=None)


def _covers(held: dict[str, list[int]], wanted: dict[str, list[int]]) -> bool:
    """Whether what is held is, or can be averaged to, what is wanted."""
    return set(wanted["layers"]) <= set(held["layers"]) and all(
        math.prod(held[name]) and all(size in (1, there) for size, there in zip(wanted[name][1:], held[name][1:]))
        for name in Features._fields
        if math.prod(wanted[name])
    )


def _make_room(root: Path, folder: Path, needed: int, limit: int) -> int:
    """Bytes that a store in `folder` may take; as many as are needed if removing those that nobody uses can help it."""
    records = {place: record for place, record in _records(root).items() if place != folder}
    others = sorted(records, key=lambda place: (place / RECORD).stat().st_mtime)
    within = limit - sum(record["bytes"] for record in records.values())
    free = shutil.disk_usage(root).free + _size(folder)
    with ExitStack() as locks:
        leaving = []
        for place in others:
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
