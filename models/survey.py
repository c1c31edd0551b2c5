"""What a folder holds, by the headers of its recordings: what will be embedded, and what cannot be and why."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from oscine.models.audio import AudioError, AudioInfo, read_headers
from oscine.models.errors import OscineError
from oscine.models.scan import scan_folder

logger = logging.getLogger(__name__)


class Shard(NamedTuple):
    """One of several jobs that share a folder, counted from 1. A recording's name alone decides whose it is."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, name: str) -> bool:
        return zlib.crc32(name.encode()) % self.of == self.number - 1


ALL = Shard(1, 1)


class Recording(NamedTuple):
    """One file to embed. `name` stands in the table's column `file`; `stamp` is its size in bytes and its time in ns."""

    path: Path
    name: str
    info: AudioInfo
    stamp: tuple[int, int] = (0, 0)


class Survey(NamedTuple):
    """A folder, or a shard of it.

    recordings  in the order of their names
    listed      name to reason: what cannot be used, and what is cut short
    folder      of the whole folder, all shards together: how many recordings, and a hash of their names
    """

    recordings: list[Recording]
    listed: dict[str, str]
    folder: dict[str, int | str]


def parse_shard(text: str) -> Shard:
    """ "2/8" is the second of eight."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise OscineError(f"shard {text!r}: expected NUMBER/OF with numbers from 1, such as 1/8 to 8/8")
    return Shard(int(match[1]), int(match[2]))


def survey(folder: str | Path, shard: Shard = ALL, tell: Callable[[int, int], None] = lambda *_: None) -> Survey:
    """The recordings below a folder by their headers. tell: called with how many headers of how many have been read."""
    folder = Path(folder)
    found = scan_folder(folder)
    names = {_name(path, folder): path for path in found.recordings}
    refused = {_name(path, folder): reason for path, reason in found.refused.items()}
    listed = {name: reason for name, reason in refused.items() if shard.has(name)}
    mine = sorted(name for name in names if shard.has(name))
    recordings = []
    for done, (name, info) in enumerate(zip(mine, read_headers([names[name] for name in mine])), start=1):
        tell(done, len(mine))
        recording = _recording(name, names[name], info)
        if isinstance(recording, AudioError):
            listed[_name(recording.path, folder)] = recording.reason
            continue
        recordings.append(recording)
        if recording.info.truncated:
            listed[recording.name] = recording.info.truncated
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
    return Survey(recordings, listed, {"recordings": len(names), "names": digest})


def _recording(name: str, path: Path, info: AudioInfo | AudioError) -> Recording | AudioError:
    if isinstance(info, AudioError):
        return info
    try:
        status = path.stat()
    except OSError as error:  # gone or cut off since its header was read
        return AudioError(path, f"could not be opened ({error.strerror}); check the disk or the connection to it")
    return Recording(path, name, info, (status.st_size, status.st_mtime_ns))


def _name(path: Path, folder: Path) -> str:
    # Bytes that are no UTF-8 become "\\xe4": neither Parquet nor CSV could hold them.
    return os.fsencode(path.relative_to(folder).as_posix()).decode(errors="backslashreplace")
