"""Recordings in tar and tar.gz files, read where they lie: nothing is unpacked, an index beside each file is made once.

    .index/NAME.parquet       a row a recording: name, offset and length in bytes of the tar's content, frames, rate
    .index/NAME.points.npy    of a tar.gz: where inflating can begin, every 2 MB or so; see `oscine.models.gzip_points`
    .index/NAME.windows       of a tar.gz: 32 KiB for each of those points

Where the folder cannot be written, the index goes to the user's cache. A file of another size or time is indexed anew.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tarfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from oscine.models.audio import AudioError, decode
from oscine.models.cores import cores
from oscine.models.errors import OscineError
from oscine.models.files import wait_for, write_whole
from oscine.models.gzip_points import WINDOW, Inflated, read_inflated
from oscine.models.scan import SUFFIXES

if TYPE_CHECKING:
    from torch import Tensor

MEMBERS = pa.schema(
    {"name": pa.string(), "offset": pa.int64(), "length": pa.int64(), "frames": pa.int64(), "rate": pa.int64()}
)
GZIP_MAGIC = b"\x1f\x8b"

logger = logging.getLogger(__name__)


class Index(NamedTuple):
    """Of one tar: its recordings, and the points and windows of its gzip file, if it is one."""

    members: pa.Table
    points: np.ndarray | None
    windows: Path


class Tars:
    """The recordings of several tars, numbered in their order there. seconds: NaN where a header cannot be read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        found = [_find(path) for path in paths]
        if new := [path.stat().st_size for path, index in zip(paths, found) if index is None]:
            logger.warning(
                "%d tar files (%.1f GB) are read from end to end, this once, to index them", len(new), sum(new) / 1e9
            )
        # Inflating leaves the interpreter alone, so that threads do.
        with ThreadPoolExecutor(cores()) as threads:
            self.indices = list(threads.map(lambda path, index: index or _make(path), paths, found))
        members = pa.concat_tables([index.members for index in self.indices]).combine_chunks()
        self.tar = np.repeat(np.arange(len(paths)), [len(index.members) for index in self.indices])
        self.names = members["name"]
        self.offset, self.length = members["offset"].to_numpy(), members["length"].to_numpy()
        frames, rate = members["frames"].to_numpy(), members["rate"].to_numpy()
        self.seconds = np.where(frames > 0, frames / np.maximum(rate, 1), np.nan)

    def place(self, recording: int) -> Path:
        """Where it lies, for a person."""
        return self.paths[self.tar[recording]] / self.names[recording].as_py()

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:  # [samples]
        """`load_audio` by number."""
        place = self.place(recording)
        try:
            with Member(io.BytesIO(self.read(recording)), place) as member:
                decoded = decode(member, sample_rate, round(start * sample_rate), round(seconds * sample_rate))
        except soundfile.LibsndfileError:
            raise AudioError(place, "is no audio that can be read here; download its tar file again") from None
        if not len(decoded.waveform):
            raise AudioError(place, decoded.truncated)
        return decoded.waveform

    def read(self, recording: int) -> bytes:
        """The bytes of its file."""
        tar, at, length = self.tar[recording], int(self.offset[recording]), int(self.length[recording])
        index = self.indices[tar]
        try:
            with self.paths[tar].open("rb", buffering=0) as file:
                if index.points is not None:
                    with index.windows.open("rb", buffering=0) as windows:
                        return read_inflated(file, index.points, windows, at, length)
                file.seek(at)
                return file.read(length)
        except OSError as error:
            reason = f"could not be opened ({error.strerror}); check the disk or the connection to it"
            raise AudioError(self.place(recording), reason) from None
        except (zlib.error, EOFError) as error:
            raise AudioError(
                self.place(recording), f"cannot be inflated ({error}); download its tar file again"
            ) from None


class Member(soundfile.SoundFile):
    """A recording within a tar file, whose errors name it."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        super().__init__(file)

    @property
    def name(self) -> str:
        return str(self.path)


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
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def _read(path: Path, folder: Path) -> Index | None:
    """The index of a tar as it is now, if it lies in that folder."""
    windows = folder / f"{path.name}.windows"
    try:
        members = pq.read_table(folder / f"{path.name}.parquet")
        about = members.schema.metadata or {}
        if about[b"stamp"] != _stamp(path):
            return None
        if about[b"points"] == b"0":
            return Index(members, None, windows)
        points = np.load(folder / f"{path.name}.points.npy")
        if windows.stat().st_size != WINDOW * (points[:, 2].max() + 1):
            return None
    except (OSError, ValueError, KeyError):  # none, another user's, or damaged
        return None
    return Index(members, points, windows)


def _make(path: Path) -> Index:
    folder = _writable(path)
    with wait_for(folder / f".{path.name}.lock"):  # of the processes of a run, one reads the tar
        return _read(path, folder) or _write(path, folder)


def _write(path: Path, folder: Path) -> Index:
    stamp = _stamp(path)
    members, inflated = _scan(path)
    points = np.array(inflated.points if inflated else [], np.int64)
    table, array = io.BytesIO(), io.BytesIO()
    pq.write_table(members.replace_schema_metadata({"stamp": stamp, "points": str(len(points))}), table)
    np.save(array, points)
    try:
        if inflated:
            write_whole(folder / f"{path.name}.points.npy", array.getvalue())
            write_whole(folder / f"{path.name}.windows", b"".join(inflated.windows))
        write_whole(folder / f"{path.name}.parquet", table.getvalue())  # last: where it is, all is there
    except OSError as error:
        raise OscineError(f"{folder} could not be written ({error.strerror or error}); make room for indices") from None
    index = _read(path, folder)
    assert index is not None, "it has just been written"
    return index


def _scan(path: Path) -> tuple[pa.Table, Inflated | None]:
    """The recordings of a tar, and its gzip file, read to the end, if it is one."""
    rows: list[tuple[str, int, int, int, int]] = []
    try:
        with path.open("rb") as file:
            inflated = Inflated(file) if file.peek(2)[:2] == GZIP_MAGIC else None
            content = io.BufferedReader(inflated, 2**20) if inflated else file
            with tarfile.open(fileobj=content, mode="r|") as tar:
                for member in tar:
                    name = PurePosixPath(member.name)
                    if member.isfile() and name.suffix.lower() in SUFFIXES and not name.name.startswith("."):
                        rows.append((name.name, member.offset_data, member.size, *_header(tar, member)))
            while inflated and content.read(2**20):  # up to the checksum
                pass
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise OscineError(f"{path} is no whole tar file ({error}); download it again") from None
    except OSError as error:
        raise OscineError(f"{path} could not be read ({error.strerror or error}); check the disk") from None
    columns = [list(column) for column in zip(*rows)] or [[] for _ in MEMBERS]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, MEMBERS)]
    return pa.table(arrays, schema=MEMBERS), inflated


def _header(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[int, int]:
    """Frames and rate of a recording; 0 where they cannot be read."""
    file = tar.extractfile(member)
    content = file.read() if file else b""
    if len(content) < member.size:
        raise EOFError("ends too early")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as recording:
            return recording.frames, recording.samplerate
    except soundfile.LibsndfileError:
        return 0, 0
