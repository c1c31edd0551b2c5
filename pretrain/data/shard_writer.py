"""One shard, put together aside and moved to its place when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from oscine.models.files import put, write_whole
from oscine.pretrain.data.shards import shard_name

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
PART = "part"


class Row(NamedTuple):
    """A recording in the index. name: below the folder packed; offset, length: in bytes, in the shard of this number."""

    name: str
    key: str
    shard: int
    offset: int
    length: int
    frames: int


class ShardWriter:
    """A tar file with KEY.flac (or .ogg) and KEY.json of each recording; its record in `work` says what it holds."""

    def __init__(self, out: Path, work: Path, number: int) -> None:
        self.number, self.target = number, shard_path(out, number)
        self.record, self.part = record_path(work, number), work / PART
        self.rows: list[Row] = []
        self.listed: dict[str, str] = {}  # recordings on the way that were left out, or are cut short, and why
        self.hash = hashlib.sha256()
        self.size = 0
        self.file = self.part.open("wb")

    def size_with(self, recording: Path, about: bytes) -> int:
        """Bytes of the shard if it took this recording, too, and ended."""
        return self.size + 2 * BLOCK + _padded(recording.stat().st_size) + _padded(len(about)) + len(END)

    def add(self, recording: Path, about: bytes, name: str, frames: int) -> None:
        """Take a recording; its file is called KEY.flac or KEY.ogg. about: JSON."""
        length = recording.stat().st_size
        self._write(_header(recording.name, length))
        self.rows.append(Row(name, recording.stem, self.number, self.size, length, frames))
        with recording.open("rb") as file:
            while block := file.read(2**20):
                self._write(block)
        self._pad()
        self._write(_header(f"{recording.stem}.json", len(about)) + about)
        self._pad()

    def finish(self, following: int) -> dict[str, Any]:
        """Put the shard in its place and return its record. following: number of the recording that the next begins with."""
        self._write(END)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        record = {
            "name": self.target.name, "bytes": self.size, "sha256": self.hash.hexdigest(), "next": following,
            "rows": self.rows, "listed": self.listed,
        }  # fmt: skip
        write_whole(self.record, json.dumps(record).encode())  # first: a shard without its record would be unknown
        put(self.part, self.target)
        return record

    def close(self) -> None:
        """Delete what is not finished."""
        self.file.close()
        self.part.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        self.file.write(content)
        self.hash.update(content)
        self.size += len(content)

    def _pad(self) -> None:
        self._write(bytes(_padded(self.size) - self.size))


def shard_path(out: Path, number: int) -> Path:
    return out / shard_name(number)


def record_path(work: Path, number: int) -> Path:
    return work / f"{number:06d}.json"


def _header(name: str, length: int) -> bytes:
    """Of a member of a tar; nothing in it depends on when and by whom it is made."""
    member = tarfile.TarInfo(name)
    member.size = length
    return member.tobuf(tarfile.GNU_FORMAT)  # a block; this format knows of members of 8 GB and more


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
