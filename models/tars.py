"""Recordings in tar and tar.gz files, read where they lie: nothing is unpacked, an index beside each file is made once.

    .index/NAME.parquet       a row a recording: name, offset and length in bytes of the tar's content, frames, rate
    .index/NAME.points.npy    of a tar.gz: where inflating can begin, every 2 MB or so; see `oscine.models.gzip_points`
    .index/NAME.windows       of a tar.gz: 32 KiB for each of those points

Where the folder cannot be written, the index goes to the user's cache. A file of another size, time, beginning or end is
indexed anew, and so is one whose index is damaged or of another version. Whatever a tar says, few bytes of it are held: its
headers come in blocks, of a recording's the first and last MB are enough, and one is decoded as it is read.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.audio import BUFFER, AudioError, load, open_stream, unreadable, warn_once
from oscine.models.channels import MIX, Channel, one_channel
from oscine.models.cores import cores
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.gzip_points import WINDOW, Inflated, Inflating
from oscine.models.locks import lock_wait
from oscine.models.scan import SUFFIXES, check_permitted
from oscine.models.streams import Ends, Part, ends
from oscine.models.tar_headers import Entry, TarError, read_entries

if TYPE_CHECKING:
    from torch import Tensor

MEMBERS = pa.schema(
    {
        "name": pa.string(),
        "offset": pa.int64(),
        "length": pa.int64(),
        "frames": pa.int64(),  # 0 where it cannot be read
        "rate": pa.int64(),
        "note": pa.string(),  # why it cannot be read, or what else is to be said of it
    }
)
VERSION = b"2"  # of what an index says: the first believed the recordings' headers
GZIP_MAGIC = b"\x1f\x8b"
WHOLE = 2**25  # bytes of a recording in a tar.gz that are inflated at once: going back within it is quicker then
EDGE = 2**20  # bytes at each end of a recording in a tar.gz that its header is read from

logger = logging.getLogger(__name__)


class Index(NamedTuple):
    """Of one tar: its recordings, and the points and windows of its gzip file, if it is one."""

    members: pa.Table
    points: np.ndarray | None
    windows: Path


class Tars:
    """The recordings of several tars, numbered in their order there.

    seconds   NaN of those that cannot be read
    notes     why, or what else is to be said of a recording, else ""
    contents  a hash of what tells the tars from others
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        for path in paths:
            check_permitted(path)
        found = [_find(path) for path in paths]
        if new := [path.stat().st_size for path, index in zip(paths, found) if index is None]:
            logger.warning(
                "%d tar files (%.1f MB) are read from end to end, this once, to index them", len(new), sum(new) / 1e6
            )
        # Inflating leaves the interpreter alone, so that threads do.
        with ThreadPoolExecutor(cores()) as threads:
            self.indices = list(threads.map(lambda path, index: index or _make(path), paths, found))
        stamps = b" ".join((index.members.schema.metadata or {})[b"stamp"].split()[-1] for index in self.indices)
        self.contents = hashlib.sha256(stamps).hexdigest()[:16]
        members = pa.concat_tables([index.members for index in self.indices]).combine_chunks()
        self.tar = np.repeat(np.arange(len(paths)), [len(index.members) for index in self.indices])
        self.names, self.notes = members["name"], members["note"]
        self.offset, self.length = members["offset"].to_numpy(), members["length"].to_numpy()
        frames, rate = members["frames"].to_numpy(), members["rate"].to_numpy()
        self.seconds = np.where(frames > 0, frames / np.maximum(rate, 1), np.nan)

    def place(self, recording: int) -> Path:
        """Where it lies, for a person."""
        return self.paths[self.tar[recording]] / self.names[recording].as_py()

    def unread(self) -> dict[int, AudioError]:
        """Number to error, of the recordings that cannot be read; what is to be said of others is logged."""
        errors = {}
        for recording in np.flatnonzero(self.notes.to_numpy(zero_copy_only=False) != "").tolist():
            note = self.notes[recording].as_py()
            if np.isnan(self.seconds[recording]):
                errors[recording] = AudioError(self.place(recording), note)
            else:
                warn_once(self.place(recording), note)
        return errors

    def load(
        self, recording: int, sample_rate: int, start: float, seconds: float, channel: Channel = MIX
    ) -> Tensor:  # [samples]
        """`load_audio` by number; of a tar only the part is read."""
        place, offset, length = self.place(recording), int(self.offset[recording]), int(self.length[recording])
        index, path = self.indices[self.tar[recording]], self.paths[self.tar[recording]]
        if index.points is None:
            return load_member(path, place, offset, length, sample_rate, start, seconds, channel)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb", buffering=0))
                windows = stack.enter_context(index.windows.open("rb", buffering=0))
            except OSError as error:
                raise AudioError(place, unreadable(error)) from None
            content = Part(Inflating(file, index.points, windows, offset + length), offset, length)
            stream = io.BufferedReader(content, EDGE)
            if length <= WHOLE:
                whole = io.BytesIO(stream.read())
                if content.error:
                    raise AudioError(place, unreadable(content.error))
                return _load(whole, place, sample_rate, start, seconds, channel)
            return _load(stream, place, sample_rate, start, seconds, channel)


def load_member(
    path: Path,
    name: Path,
    offset: int,
    length: int,
    sample_rate: int,
    start: float,
    seconds: float,
    channel: Channel = MIX,
) -> Tensor:  # [samples]
    """`load_audio` of a recording that is `length` bytes of a tar file from `offset`; `name` is for a person."""
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise AudioError(path, unreadable(error)) from None
    with file:
        stream = io.BufferedReader(Part(file, offset, length), BUFFER)
        return _load(stream, name, sample_rate, start, seconds, channel)


def _load(stream: BinaryIO, name: Path, sample_rate: int, start: float, seconds: float, channel: Channel) -> Tensor:
    first, count = round(start * sample_rate), round(seconds * sample_rate)
    return load(open_stream(stream, name), sample_rate, first, count, one_channel(channel))


def _find(path: Path) -> Index | None:
    return next((index for folder in _folders(path) if (index := _read(path, folder)) is not None), None)


def _writable(path: Path) -> Path:
    """The folder that an index is to lie in."""
    folders = _folders(path)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise OscineError(f"an index of {path.name} can be written neither to {folders[0]} nor to {folders[1]}; allow one")


def _folders(path: Path) -> tuple[Path, Path]:
    """Where an index may lie: beside its tar, or in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(path.parent.absolute())).hexdigest()[:16]
    return path.parent / ".index", cache / "oscine" / name


def _stamp(path: Path) -> bytes:
    status = path.stat()
    with path.open("rb") as file:
        return f"{status.st_size} {status.st_mtime_ns} {ends(file)}".encode()


def _read(path: Path, folder: Path) -> Index | None:
    """The index of a tar as it is now, if it lies in that folder and is whole."""
    windows = folder / f"{path.name}.windows"
    try:
        members = pq.read_table(folder / f"{path.name}.parquet", page_checksum_verification=True)
        about = members.schema.metadata or {}
        if about.get(b"version") != VERSION or not members.schema.equals(MEMBERS):
            return None
        stamp, size = _stamp(path), path.stat().st_size
        if about[b"stamp"] != stamp:
            if about[b"stamp"].split()[:2] == stamp.split()[:2]:
                logger.warning("%s is another file than the one of this size and time that was indexed before", path)
            return None
        if not _are_within(members, 2**62 if about[b"points"] else size):
            return None
        if not about[b"points"]:
            return Index(members, None, windows)
        array = (folder / f"{path.name}.points.npy").read_bytes()
        if hashlib.sha256(array).hexdigest().encode() != about[b"points"]:
            return None
        points = np.load(io.BytesIO(array))
        if windows.stat().st_size != WINDOW * (points[:, 2].max() + 1):
            return None
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):  # none, another user's, or damaged
        return None
    return Index(members, points, windows)


def _are_within(members: pa.Table, size: int) -> bool:
    """Whether recordings lie where they can, and are as long as they can be."""
    if any(column.null_count for column in members.columns):
        return False
    offset, length, frames, rate = (members[name].to_numpy() for name in ("offset", "length", "frames", "rate"))
    numbers = (offset >= 0) & (length >= 0) & (offset <= size - length) & (frames >= 0) & (rate >= 0)
    return bool((numbers & (frames < 2**48) & ((frames == 0) | (rate > 0))).all())


def _make(path: Path) -> Index:
    folder = _writable(path)
    with lock_wait(folder / f".{path.name}.lock", f"indexing {path}"):  # of the processes of a run, one reads the tar
        return _read(path, folder) or _write(path, folder)


def _write(path: Path, folder: Path) -> Index:
    stamp = _stamp(path)
    members, inflated = _scan(path)
    table, array = io.BytesIO(), io.BytesIO()
    if inflated:
        np.save(array, inflated.array())
    about = {
        "version": VERSION,
        "stamp": stamp,
        "points": hashlib.sha256(array.getvalue()).hexdigest() if inflated else "",
    }
    pq.write_table(members.replace_schema_metadata(about), table, write_page_checksum=True)
    try:
        if inflated:
            write_whole(folder / f"{path.name}.points.npy", array.getvalue())
            write_whole(folder / f"{path.name}.windows", b"".join(inflated.windows))
        write_whole(folder / f"{path.name}.parquet", table.getvalue())  # last: where it is, all is there
    except OSError as error:
        raise OscineError(f"{folder} could not be written ({error.strerror or error}); make room for indices") from None
    index = _read(path, folder)
    if index is None:
        raise OscineError(f"{path} changed while it was indexed; call again once it is complete")
    return index


class Member(NamedTuple):
    """A recording in a tar, as a row of its index."""

    name: str
    offset: int
    length: int
    frames: int = 0
    rate: int = 0
    note: str = ""


def _scan(path: Path) -> tuple[pa.Table, Inflated | None]:
    """The recordings of a tar, and its gzip file, read to the end, if it is one."""
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] == GZIP_MAGIC:
                inflated = Inflated(file)
                rows = list(_members_inflated(path, inflated))
            else:
                inflated, rows = None, list(_members(path, file))
    except (TarError, EOFError, zlib.error) as error:
        raise OscineError(f"{path} is no whole tar file ({error}); download it again") from None
    except OSError as error:
        raise OscineError(f"{path} could not be read ({error.strerror or error}); check the disk") from None
    columns = [list(column) for column in zip(*rows)] or [[] for _ in MEMBERS]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, MEMBERS)]
    return pa.table(arrays, schema=MEMBERS), inflated


def _is_recording(entry: Entry) -> bool:
    name = PurePosixPath(entry.name)
    return name.suffix.lower() in SUFFIXES and not name.name.startswith(".")


def _members(path: Path, file: BinaryIO) -> Iterator[Member]:
    """The recordings of a tar that is not compressed."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    for entry in read_entries(file):
        if entry.offset + entry.size > size:
            raise EOFError("ends too early")
        if _is_recording(entry):
            place = file.tell()
            yield _member(path, entry, io.BufferedReader(Part(file, entry.offset, entry.size), BUFFER))
            file.seek(place)
        file.seek(entry.end)


def _members_inflated(path: Path, inflated: Inflated) -> Iterator[Member]:
    """The recordings of a tar.gz, whose headers are read from their ends, as far as those suffice."""
    content, at = io.BufferedReader(inflated, 2**20), 0
    found: list[tuple[Entry, Member, bool]] = []
    for entry in read_entries(content):
        head, tail = _pass_over(content, entry.size, _is_recording(entry))
        content.read(entry.end - entry.offset - entry.size)
        at = entry.end
        if _is_recording(entry):
            known = Ends(head, tail, entry.size)
            found.append((entry, _member(path, entry, io.BufferedReader(known, BUFFER)), known.asked))
    while block := content.read(2**20):  # up to the checksum
        at += len(block)
    for entry, member, asked in found:
        yield _member_inside(path, entry, inflated) if asked else member


def _pass_over(content: BinaryIO, size: int, keep: bool) -> tuple[bytes, bytes]:
    """Read so many bytes; return the first and the last of them."""
    head = content.read(min(size, EDGE))
    left, tail = size - len(head), b""
    while left > 0 and (block := content.read(min(left, EDGE))):
        left, tail = left - len(block), (tail + block)[-EDGE:] if keep else b""
    if left or len(head) < min(size, EDGE):
        raise EOFError("ends too early")
    return head, tail


def _member_inside(path: Path, entry: Entry, inflated: Inflated) -> Member:
    """A recording of a tar.gz whose ends do not say how long it is."""
    with path.open("rb", buffering=0) as file:
        windows = io.BytesIO(b"".join(inflated.windows))
        inside = Inflating(file, inflated.array(), windows, entry.offset + entry.size)
        return _member(path, entry, io.BufferedReader(Part(inside, entry.offset, entry.size), BUFFER))


def _member(path: Path, entry: Entry, content: BinaryIO) -> Member:
    name = PurePosixPath(entry.name).name
    member = Member(name, entry.offset, entry.size, note=entry.trouble)
    if entry.trouble:
        return member
    try:
        with open_stream(content, path / name) as recording:
            return member._replace(frames=recording.frames, rate=recording.samplerate, note=recording.note)
    except AudioError as error:
        return member._replace(note=error.reason)
