"""Shards: recordings packed into a few large tar files, with an index by which any part of any of them is read.

    000000.tar, 000001.tar, ...   KEY.flac or KEY.ogg, mono, then KEY.json with its name, rate and seconds: what webdataset
                                  reads, too
    index.parquet                 a row a recording: name, key, shard, offset and length in bytes, frames
    index.json                    rate, format, and bytes and sha256 of every shard; written last: where it is, all is there
    errors.csv                    file, reason: recordings that were left out, and those that are cut short

Clips come in random order from all shards, so each is a place of its own on the disk: to open, to seek, and about a
clip's length to read (half a megabyte of FLAC for 10 s at 32 kHz). This mixes recordings as well as can be, and a clip's
number alone says what it is. A local disk does thousands of these a second; a disk on the network answers late, but many
at once: take more data.workers, or copy the shards to the node's own disk first, which few and large files make quick.
Reading shards from end to end needs no seeking, but mixes only what lies close together; other readers of webdataset's
layout do that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from oscine.models.audio import AudioError
from oscine.models.cores import cores
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.tars import load_member
from oscine.pretrain.stretches import Span

if TYPE_CHECKING:
    from torch import Tensor

INDEX, ROWS, ERRORS = "index.json", "index.parquet", "errors.csv"
WORK = ".packing"  # folder of what is not finished
FORMATS: dict[str, dict[str, Any]] = {
    "flac": {"format": "FLAC", "subtype": "PCM_16"},  # the very samples of a mono recording of 16 bits at the same rate
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
}


def is_finished(folder: Path) -> bool:
    return (folder / INDEX).is_file() and (folder / ROWS).is_file()


def is_shards(folder: Path) -> bool:
    """Whether a folder holds shards; an error where they are not finished."""
    if is_finished(folder):
        return True
    if (folder / WORK).is_dir():
        raise OscineError(f"{folder} holds shards that are not finished; call oscine shards as then to finish them")
    return False


def read_index(folder: Path) -> dict[str, Any]:
    """index.json of a folder of shards that are all there, as long as they were."""
    index = json.loads((folder / INDEX).read_bytes())
    wrong = [shard["name"] for shard in index["shards"] if _size(folder / shard["name"]) != shard["bytes"]]
    if wrong:
        raise OscineError(
            f"{folder}: {len(wrong)} of {len(index['shards'])} shards are not there or not as long as they were, such as "
            f"{', '.join(wrong[:3])}; copy them again"
        )
    return index


def check_shards(folder: Path, tell: Callable[[int, int], None] = lambda *_: None) -> int:
    """Read every shard from end to end, several at a time; how many there are. An error names those that are not as packed.

    tell: called with how many shards of how many are done.
    """
    if not is_shards(folder):
        raise OscineError(
            f"no shards in {folder}, which would have an {INDEX}; name the folder that oscine shards wrote"
        )
    shards = json.loads((folder / INDEX).read_bytes())["shards"]
    wrong = []
    with ThreadPoolExecutor(cores()) as threads:  # a hash leaves the interpreter alone
        for number, reason in enumerate(threads.map(partial(_damage, folder), shards), 1):
            wrong += [reason] if reason else []
            tell(number, len(shards))
    if wrong:
        raise OscineError(f"{folder}: {len(wrong)} of {len(shards)} shards: {', '.join(wrong)}; copy them again")
    return len(shards)


def _damage(folder: Path, shard: dict[str, Any]) -> str:
    """What is wrong with a shard, with its name, or "" ."""
    try:
        return "" if file_hash(folder / shard["name"]) == shard["sha256"] else f"{shard['name']} is damaged"
    except OSError as error:
        return f"{shard['name']} could not be read ({error.strerror})"


class Shards:
    """The recordings of a folder of shards, in the order in which they were packed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = read_index(folder)
        self.sample_rate: int | None = index["sample_rate"]
        self.contents = sha256("".join(shard["sha256"] for shard in index["shards"]).encode()).hexdigest()[:16]
        self.shards = [folder / shard["name"] for shard in index["shards"]]
        rows = pq.read_table(folder / ROWS).combine_chunks()
        self.names = rows["name"]
        self.shard, self.offset, self.length, self.frames = (
            rows[column].to_numpy() for column in ("shard", "offset", "length", "frames")
        )

    def spans(self) -> Iterator[Span | AudioError]:
        for recording, seconds in enumerate((self.frames / self.sample_rate).tolist()):
            yield Span(recording, 0.0, seconds)

    def name(self, recording: int) -> str:
        return str(self.shards[self.shard[recording]] / self.names[recording].as_py())

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        path, name = self.shards[self.shard[recording]], Path(self.names[recording].as_py())
        offset, length = int(self.offset[recording]), int(self.length[recording])
        try:
            return load_member(path, path / name, offset, length, sample_rate, start, seconds)
        except AudioError as error:
            if not error.reason.startswith("is no audio"):
                raise
            reason = "is damaged; copy its tar file again (oscine shards --check names damaged shards)"
            raise AudioError(error.path, reason) from None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
