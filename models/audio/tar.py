"""Read recordings in tar and tar.gz files without unpacking them; an index beside each file is made once.

    .index/NAME.parquet       a row a recording: name, offset in bytes of the tar's content, length in bytes, frames, rate
    .index/NAME.points.npy    of a tar.gz: where inflating can begin, every 2 MB or so; see `oscine.models.audio.gzip_index`
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
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.audio.channels import MIX, Channel, one_channel
from oscine.models.audio.file_parts import Ends
from oscine.models.audio.gzip_index import WINDOW, GzipIndexer, GzipReader
from oscine.models.audio.load import BUFFER, AudioError, load, open_stream, unreadable, warn_once
from oscine.models.audio.scan import SUFFIXES, check_permitted
from oscine.models.audio.tar_headers import Entry, Map, Place, Runs, TarError, read_entries
from oscine.models.audio.workers import cores
from oscine.models.errors import OscineError
from oscine.models.files import DIGITS, file_stamp, whole, write_whole
from oscine.models.locks import lock_wait
from oscine.models.text.words import counted

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
        # Of a sparse file: place and length of each run of its bytes that the tar holds, one behind the other from `offset`.
        "runs": pa.list_(pa.int64()),
    }
)
VERSION = b"3"  # of what an index says: 1 believed the recordings' headers, 2 told tars apart by more bytes of them
GZIP_MAGIC = b"\x1f\x8b"
WHOLE = 2**25  # bytes of a recording in a tar.gz that are inflated at once: going back within it is quicker then
EDGE = 2**20  # bytes at each end of a recording in a tar.gz that its header is read from
CUT = "lies where its tar file is cut short; download that again"

UNREADABLE = (OSError, EOFError, ValueError, zlib.error)  # how a file fails that lies within another
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
    cut       the tars that are cut short, of which the recordings before that are here
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        for path in paths:
            check_permitted(path)
        found = [_find(path) for path in paths]
        if new := [path.stat().st_size for path, index in zip(paths, found) if index is None]:
            logger.warning(
                "%s (%.1f MB), to be read from end to end, this once, for an index",
                counted(len(new), "tar file"),
                sum(new) / 1e6,
            )
        stop = Event()
        # Inflating leaves the interpreter alone, so that threads do.
        with ThreadPoolExecutor(cores()) as threads:
            try:
                self.indices = list(threads.map(lambda path, index: index or _make(path, stop), paths, found))
            except (KeyboardInterrupt, SystemExit):  # the threads are waited for, and know nothing of it by themselves
                stop.set()
                raise
        stamps = b" ".join((index.members.schema.metadata or {})[b"stamp"].split()[-1] for index in self.indices)
        self.contents = hashlib.sha256(stamps).hexdigest()[:DIGITS]
        self.cut = [path for path, index in zip(paths, self.indices) if (index.members.schema.metadata or {})[b"cut"]]
        for path in self.cut:
            warn_once(path, "is cut short; what comes before is used; download it again for the rest")
        members = pa.concat_tables([index.members for index in self.indices]).combine_chunks()
        self.tar = np.repeat(np.arange(len(paths)), [len(index.members) for index in self.indices])
        self.names, self.notes, self.runs = members["name"], members["note"], members["runs"]
        self.offset, self.length = members["offset"].to_numpy(), members["length"].to_numpy()
        frames, rate = members["frames"].to_numpy(), members["rate"].to_numpy()
        self.seconds = np.where(frames > 0, frames / np.maximum(rate, 1), np.nan)

    def path_of(self, recording: int) -> Path:
        """Name where a recording lies, for a person."""
        return self.paths[self.tar[recording]] / self.names[recording].as_py()

    def unread(self) -> dict[int, AudioError]:
        """Return number to error of recordings that cannot be read; log the notes about others."""
        errors = {}
        for recording in np.flatnonzero(self.notes.to_numpy(zero_copy_only=False) != "").tolist():
            note = self.notes[recording].as_py()
            if np.isnan(self.seconds[recording]):
                errors[recording] = AudioError(self.path_of(recording), note)
            else:
                warn_once(self.path_of(recording), note)
        return errors

    def load(
        self, recording: int, sample_rate: int, start: float, seconds: float, channel: Channel = MIX
    ) -> Tensor:  # [samples]
        """Load a recording by its number, as `load_audio` does; of a tar only the part is read."""
        name, index, path = self.path_of(recording), self.indices[self.tar[recording]], self.paths[self.tar[recording]]
        runs = _as_runs(self.runs[recording].as_py())
        place = Place(int(self.offset[recording]), int(self.length[recording]), runs)
        if index.points is None and not runs:
            return load_member(
                path, name, place, sample_rate=sample_rate, start=start, seconds=seconds, channel=channel
            )
        with ExitStack() as stack:
            try:
                file: Any = stack.enter_context(path.open("rb", buffering=0))
                if index.points is not None:
                    windows = stack.enter_context(index.windows.open("rb", buffering=0))
                    file = GzipReader(file, index.points, windows, place.offset + place.stored)
                stream = _open_inside(file, place)
            except UNREADABLE as error:
                raise AudioError(name, unreadable(error)) from None
            return _load(stream, name, sample_rate, start, seconds, channel)


def _open_inside(file: Any, place: Place) -> BinaryIO:
    """Open a recording in another file as one of its own; one that is not long is read at once."""
    part = place.part(file)
    stream = io.BufferedReader(part, EDGE)
    if place.length > WHOLE:
        return stream
    content = stream.read(place.length)
    if part.error:
        raise part.error
    return io.BytesIO(content)


def load_member(
    path: Path, name: Path, place: Place, *, sample_rate: int, start: float, seconds: float, channel: Channel = MIX
) -> Tensor:  # [samples]
    """Load a recording that lies in a tar file at `place`; `name` is for a person."""
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise AudioError(path, unreadable(error)) from None
    with file:
        stream = io.BufferedReader(place.part(file), BUFFER)
        return _load(stream, name, sample_rate, start, seconds, channel)


def _load(stream: BinaryIO, name: Path, sample_rate: int, start: float, seconds: float, channel: Channel) -> Tensor:
    first, count = round(start * sample_rate), round(seconds * sample_rate)
    return load(open_stream(stream, name), sample_rate, first, count, one_channel(channel))


def _find(path: Path) -> Index | None:
    return next((index for folder in _folders(path) if (index := _read(path, folder)) is not None), None)


def _writable(path: Path) -> Path:
    """Find the folder that an index is to lie in."""
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
    """Name where an index may lie: beside its tar, or in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(path.parent.absolute())).hexdigest()[:16]
    return path.parent / ".index", cache / "oscine" / name


def _stamp(path: Path) -> bytes:
    return " ".join(map(str, file_stamp(path))).encode()


def _read(path: Path, folder: Path) -> Index | None:
    """Read the index of a tar as it is now, if it lies in that folder and is whole."""
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
    """Return whether recordings lie where they can, and are as long as they can be."""
    if any(column.null_count for column in members.columns):
        return False
    offset, length, frames, rate = (members[name].to_numpy() for name in ("offset", "length", "frames", "rate"))
    stored = length.copy()
    for row, numbers in enumerate(members["runs"].to_pylist()):
        if not numbers:
            continue
        place = Place(0, int(length[row]), _as_runs(numbers))
        if not Map(place.runs, place.length).fits(place.stored):
            return False
        stored[row] = place.stored
    inside = (offset >= 0) & (length >= 0) & (offset <= size - stored) & (frames >= 0) & (rate >= 0)
    return bool((inside & (frames < 2**48) & ((frames == 0) | (rate > 0))).all())


def _as_runs(numbers: list[int]) -> Runs:
    return tuple(zip(numbers[::2], numbers[1::2]))


def _make(path: Path, stop: Event) -> Index:
    folder = _writable(path)
    try:
        # Of the processes of a run, one reads the tar.
        with lock_wait(folder / f".{path.name}.lock", f"indexing {path}", stop):
            return _read(path, folder) or _write(path, folder, stop)
    except OSError as error:
        raise OscineError(f"{folder} could not be written ({error.strerror or error}); make room for indices") from None


def _write(path: Path, folder: Path, stop: Event) -> Index:
    try:
        stamp = _stamp(path)
        with path.open("rb") as file:
            is_gzip = file.read(2) == GZIP_MAGIC
    except OSError as error:
        raise OscineError(f"{path} could not be read ({error.strerror or error}); check the disk") from None
    array = io.BytesIO()
    if is_gzip:
        with whole(folder / f"{path.name}.windows") as windows:
            found = _scan(path, stop, windows)
        np.save(array, np.asarray(found.points))
        write_whole(folder / f"{path.name}.points.npy", array.getvalue())
    else:
        found = _scan(path, stop)
    about = {
        "version": VERSION,
        "stamp": stamp,
        "points": hashlib.sha256(array.getvalue()).hexdigest() if array.getvalue() else "",
        "cut": found.cut,
    }
    table = io.BytesIO()
    pq.write_table(found.members.replace_schema_metadata(about), table, write_page_checksum=True)
    write_whole(folder / f"{path.name}.parquet", table.getvalue())  # last: where it is, all is there
    index = _read(path, folder)
    if index is None:
        raise OscineError(f"{path} changed while it was indexed; call again once it is complete")
    return index


class Stoppable(io.FileIO):
    """A file that cannot be read any more once `stop` is set, so that the thread that reads it ends."""

    def __init__(self, path: Path, stop: Event) -> None:
        super().__init__(path)
        self.stop = stop

    def readinto(self, buffer: Any) -> int:
        if self.stop.is_set():
            raise OSError("stopped")
        return super().readinto(buffer)


class Member(NamedTuple):
    """A recording in a tar, as a row of its index."""

    name: str
    offset: int
    length: int
    frames: int = 0
    rate: int = 0
    note: str = ""
    runs: tuple[int, ...] = ()


class Scan(NamedTuple):
    """The content of a tar. points: of its gzip file, if it is one; cut: why it ends before its time, or ""."""

    members: pa.Table
    points: np.ndarray | None
    cut: str


def _scan(path: Path, stop: Event, windows: BinaryIO | None = None) -> Scan:
    """Read a tar from end to end. windows: takes those of the points of a gzip file."""

    def keep(window: bytes) -> None:
        assert windows is not None, "they are kept of a gzip file alone"
        try:
            windows.write(window)
        except OSError as error:
            raise OscineError(f"an index could not be written ({error.strerror or error}); make room for it") from None

    rows: list[Member] = []
    cut, inflated = "", None
    try:
        with io.BufferedReader(Stoppable(path, stop)) as file:
            if windows is None:
                found = _members(path, file)
            else:
                inflated = GzipIndexer(file, keep)
                found = _members_inflated(path, file, inflated, windows)
            try:
                rows.extend(found)
            except EOFError as error:
                cut = str(error)
        if stop.is_set():  # the last recording may be taken for one that cannot be read
            raise OSError("stopped")
    except (TarError, zlib.error) as error:
        raise OscineError(f"{path} is no whole tar file ({error}); download it again") from None
    except OSError as error:
        raise OscineError(f"{path} could not be read ({error.strerror or error}); check the disk") from None
    if cut and not rows:
        raise OscineError(f"{path} is no whole tar file ({cut}); download it again")
    columns = [list(column) for column in zip(*rows)] or [[] for _ in MEMBERS]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, MEMBERS)]
    return Scan(pa.table(arrays, schema=MEMBERS), inflated.array() if inflated else None, cut)


def _is_recording(entry: Entry) -> bool:
    name = PurePosixPath(entry.name)
    return name.suffix.lower() in SUFFIXES and not name.name.startswith(".")


def _members(path: Path, file: BinaryIO) -> Iterator[Member]:
    """Yield the recordings of a tar that is not compressed; at last EOFError where it is cut short."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    for entry in read_entries(file):
        if entry.place.offset + entry.place.stored > size:
            if _is_recording(entry):
                yield _cut_member(entry)
            raise EOFError("ends too early")
        if _is_recording(entry):
            yield _member(path, entry, io.BufferedReader(entry.place.part(file), BUFFER))
        file.seek(entry.end)


def _members_inflated(path: Path, file: BinaryIO, inflated: GzipIndexer, windows: BinaryIO) -> Iterator[Member]:
    """Yield the recordings of a tar.gz, whose headers are read from their ends where those suffice; EOFError likewise."""
    content = io.BufferedReader(inflated, 2**20)
    found: list[tuple[Entry, Member, bool]] = []
    cut: EOFError | None = None
    try:
        for entry in read_entries(content):
            size = entry.place.stored
            if _is_recording(entry):
                found.append((entry, _cut_member(entry), False))
            head, tail = _pass_over(content, size, _is_recording(entry))
            if _is_recording(entry):
                known = Ends(head, tail, size)
                member = _member(path, entry, io.BufferedReader(known, BUFFER))
                found[-1] = (entry, member, known.asked or bool(entry.place.runs))
            content.read(entry.end - entry.place.offset - size)
        while content.read(2**20):  # up to the checksum
            pass
        if not inflated.whole:
            raise EOFError("ends too early")
    except EOFError as error:
        cut = error
    size = max((entry.place.offset + entry.place.stored for entry, _, _ in found), default=0)
    inside = GzipReader(file, inflated.array(), windows, size)
    for entry, member, asked in found:
        if asked:  # whose ends do not say how long it is
            try:
                member = _member(path, entry, _open_inside(inside, entry.place))
            except UNREADABLE as error:
                member = _member(path, entry, io.BytesIO())._replace(note=unreadable(error))
        yield member
    if cut:
        raise cut


def _cut_member(entry: Entry) -> Member:
    return Member(PurePosixPath(entry.name).name, entry.place.offset, 0, note=CUT)


def _pass_over(content: BinaryIO, size: int, keep: bool) -> tuple[bytes, bytes]:
    """Read a number of bytes; return the first and the last of them."""
    head = content.read(min(size, EDGE))
    left, tail = size - len(head), b""
    while left > 0 and (block := content.read(min(left, EDGE))):
        left, tail = left - len(block), (tail + block)[-EDGE:] if keep else b""
    if left or len(head) < min(size, EDGE):
        raise EOFError("ends too early")
    return head, tail


def _member(path: Path, entry: Entry, content: BinaryIO) -> Member:
    name = PurePosixPath(entry.name).name
    offset, length, runs = entry.place
    member = Member(name, offset, length, note=entry.trouble, runs=tuple(sum(runs, ())))
    if entry.trouble:
        return member
    try:
        with open_stream(content, path / name) as recording:
            return member._replace(frames=recording.frames, rate=recording.samplerate, note=recording.note)
    except AudioError as error:
        return member._replace(note=error.reason)
