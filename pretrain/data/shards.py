"""Read shards: recordings in a few large tar files, with an index by which any part of any of them is read.

    000000.tar, 000001.tar, ...   KEY.flac or KEY.ogg, mono, then KEY.json with its name, rate and seconds: what webdataset
                                  reads, too
    index.parquet                 a row a recording: name, key, shard, offset and length in bytes, frames
    index.json                    rate, format, channel, and bytes and sha256 of every shard and of index.parquet; written
                                  last: where it is, all is there
    errors.csv                    file, reason: recordings that were left out, and those that are cut short, if there are any

Clips come in random order from all shards, so each is a place of its own on the disk: to open, to seek, and about a
clip's length to read (half a megabyte of FLAC for 10 s at 32 kHz). This mixes recordings as well as can be, and a clip's
number alone says what it is. A local disk does thousands of these a second; a disk on the network answers late, but many
at once: take more data.workers, or copy the shards to the node's own disk first, which few and large files make quick.
Reading shards from end to end needs no seeking, but mixes only what lies close together; other readers of webdataset's
layout do that.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.audio.channels import MIX, Channel
from oscine.models.audio.load import AudioError
from oscine.models.audio.tar import load_member
from oscine.models.audio.tar_headers import Place
from oscine.models.audio.workers import cores
from oscine.models.embed.table_metadata import reading
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.json_text import check_fields, read_json
from oscine.models.progress import ShowProgress, show_nothing
from oscine.pretrain.data.spans import Span

if TYPE_CHECKING:
    from torch import Tensor

INDEX, ROWS, ERRORS = "index.json", "index.parquet", "errors.csv"
WORK = ".packing"  # folder of what is not finished
HIGHEST_RATE = 10**6  # Hz: FLAC holds 655,350
AGAIN = "copy the folder again, or pack it anew"
PLAN_FIELDS = {"sample_rate": int, "format": str, "size": int, "source": str}
CHANNEL = {"channel": str | int}  # of the recordings; 0.1 packed the mix and did not say so
FIELDS = PLAN_FIELDS | {"recordings": int, "seconds": float, "shards": list[dict[str, int | str]]}
SHARD = {"name": str, "bytes": int, "sha256": str}
COLUMNS = pa.schema(
    {
        "name": pa.string(), "key": pa.string(), "shard": pa.int32(), "offset": pa.int64(), "length": pa.int64(),
        "frames": pa.int64(),
    }
)  # fmt: skip
FORMATS: dict[str, dict[str, Any]] = {
    "flac": {"format": "FLAC", "subtype": "PCM_16"},  # the very samples of a mono recording of 16 bits at the same rate
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
}


def is_finished(folder: Path) -> bool:
    """Return whether all shards of a folder are packed."""
    return (folder / INDEX).is_file() and (folder / ROWS).is_file()


def is_shards(folder: Path) -> bool:
    """Return whether a folder holds shards; raise an error where they are not finished."""
    if is_finished(folder):
        return True
    if (folder / WORK).is_dir():
        raise OscineError(f"{folder} holds shards that are not finished; call oscine shards as then to finish them")
    return False


def read_index(folder: Path) -> dict[str, Any]:
    """Read index.json of a folder of shards; an error where it says what no packing does.

    rows_sha256, of index.parquet, listed, the rows of errors.csv, and channel came after 0.1.
    """
    path = folder / INDEX
    try:
        content = read_json(path, AGAIN)
    except FileNotFoundError:
        raise OscineError(f"no {path}; {AGAIN}") from None
    index = check_fields(content, FIELDS, path, AGAIN, {"rows_sha256": str, "listed": int} | CHANNEL)
    if not 1 <= index["sample_rate"] <= HIGHEST_RATE:
        raise OscineError(f"{path}: sample_rate is {index['sample_rate']}, expected 1 to {HIGHEST_RATE} Hz; {AGAIN}")
    if index["format"] not in FORMATS:
        raise OscineError(f"{path}: format is {index['format'][:20]!r}, expected {' or '.join(FORMATS)}; {AGAIN}")
    for number, shard in enumerate(index["shards"]):
        check_fields(shard, SHARD, path, AGAIN)
        if shard["name"] != shard_name(number) or not re.fullmatch("[0-9a-f]{64}", shard["sha256"]):
            raise OscineError(f"{path}: shard {number} is {str(shard)[:80]}, expected {shard_name(number)}; {AGAIN}")
    return index


def shard_name(number: int) -> str:
    return f"{number:06d}.tar"


def check_sizes(folder: Path, index: dict[str, Any]) -> None:
    """Raise an error where shards are gone, or not as long as they were."""
    there = {path.name: path.stat().st_size for path in folder.glob("*.tar") if path.is_file()}
    wrong = [shard["name"] for shard in index["shards"] if there.get(shard["name"]) != shard["bytes"]]
    if wrong:
        raise OscineError(
            f"{folder}: {len(wrong)} of {len(index['shards'])} shards are not there or not as long as they were, such as "
            f"{', '.join(wrong[:3])}; copy them again"
        )


def read_rows(folder: Path, index: dict[str, Any]) -> pa.Table:
    """Read index.parquet of a folder of shards; an error where it is not the one that was packed, or leads elsewhere."""
    path = folder / ROWS
    try:
        if "rows_sha256" in index and file_hash(path) != index["rows_sha256"]:
            raise OscineError(f"{path} is not as it was packed; {AGAIN}")
    except OSError as error:
        raise OscineError(f"{path} could not be read ({error.strerror}); {AGAIN}") from None
    with reading(path, AGAIN):
        rows = pq.read_table(path).combine_chunks()
    if rows.schema.names != COLUMNS.names or rows.schema.types != COLUMNS.types:
        raise OscineError(
            f"{path} has the columns {', '.join(rows.schema.names)[:80]}, of other types or names; {AGAIN}"
        )
    if any(column.null_count for column in rows.columns):
        raise OscineError(f"{path} has empty cells; {AGAIN}")
    frames = sum(rows["frames"].to_pylist())
    if len(rows) != index["recordings"] or frames / index["sample_rate"] != index["seconds"]:
        raise OscineError(
            f"{path} has {len(rows)} recordings of {frames / index['sample_rate']:.1f} s, {INDEX} says "
            f"{index['recordings']} of {index['seconds']:.1f} s; {AGAIN}"
        )
    shard, offset, length, frames = (rows[name].to_numpy() for name in ("shard", "offset", "length", "frames"))
    sizes = np.array([one["bytes"] for one in index["shards"]], np.float64)  # any whole number of JSON fits
    inside = (shard >= 0) & (shard < len(sizes)) & (offset >= 0) & (length > 0) & (frames > 0)
    if not inside.all() or (offset.astype(float) + length > sizes[shard]).any() or _overlap(shard, offset, length):
        raise OscineError(f"{path} leads outside the shards, or twice to one place; {AGAIN}")
    return rows


def _overlap(shard: np.ndarray, offset: np.ndarray, length: np.ndarray) -> bool:
    """Return whether recordings are not one behind the other, as they were packed."""
    same = shard[1:] == shard[:-1]
    return bool((shard[1:] < shard[:-1]).any() or (same & (offset[1:] < offset[:-1] + length[:-1])).any())


def check_shards(folder: Path, progress: ShowProgress = show_nothing) -> int:
    """Read every shard from end to end, several at a time; how many there are. An error names those that are not as packed.

    progress: called with how many shards of how many are done.
    """
    if not is_shards(folder):
        raise OscineError(
            f"no shards in {folder}, which would have an {INDEX}; name the folder that oscine shards wrote"
        )
    index = read_index(folder)
    shards, rows = index["shards"], read_rows(folder, index)
    wrong = []
    with ThreadPoolExecutor(cores()) as threads:  # a hash leaves the interpreter alone
        work = partial(_damage, folder, index, rows)
        for number, reason in enumerate(threads.map(work, range(len(shards))), 1):
            wrong += [reason] if reason else []
            progress(number, len(shards))
    if wrong:
        raise OscineError(f"{folder}: {len(wrong)} of {len(shards)} shards: {', '.join(wrong)}; copy them again")
    return len(shards)


def _damage(folder: Path, index: dict[str, Any], rows: pa.Table, number: int) -> str:
    """Say what is wrong with a shard, with its name, or ""."""
    shard = index["shards"][number]
    path = folder / shard["name"]
    try:
        if file_hash(path) != shard["sha256"]:
            return f"{shard['name']} is damaged"
        own = rows.filter(pa.array(rows["shard"].to_numpy() == number))
        with path.open("rb") as file:
            for key, offset, length in zip(*(own[name].to_pylist() for name in ("key", "offset", "length"))):
                if _member(file, offset) != (f"{key}.{index['format']}", length):
                    return f"{shard['name']} has no {key} where {ROWS} says"
    except OSError as error:
        return f"{shard['name']} could not be read ({error.strerror})"
    return ""


def _member(file: Any, offset: int) -> tuple[str, int] | None:
    """Read name and length of the member of a tar file whose content begins there."""
    file.seek(max(0, offset - tarfile.BLOCKSIZE))
    try:
        header = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None
    return header.name, header.size


class ShardSource:
    """The recordings of a folder of shards, in the order in which they were packed."""

    def __init__(self, folder: Path, channel: Channel = MIX) -> None:
        self.folder = folder
        index = read_index(folder)
        packed = index.get("channel", MIX)
        if channel not in (MIX, packed):
            raise OscineError(
                f"{folder} holds shards of channel {packed}, chosen when they were packed, not of {channel}; leave "
                f"data.channel out, or pack the recordings again with oscine shards --channel {channel}"
            )
        check_sizes(folder, index)
        self.sample_rate: int | None = index["sample_rate"]
        self.contents = sha256("".join(shard["sha256"] for shard in index["shards"]).encode()).hexdigest()[:16]
        self.shards = [folder / shard["name"] for shard in index["shards"]]
        rows = read_rows(folder, index)
        self.names = rows["name"]
        # An index of 0.1 has no hash: every member that it means is looked at.
        keys = [] if "rows_sha256" in index else rows["key"].to_pylist()
        self.members = [f"{key}.{index['format']}" for key in keys]
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
        place = Place(int(self.offset[recording]), int(self.length[recording]))
        if self.members:
            self._check_member(path, recording)
        try:
            return load_member(path, path / name, place, sample_rate=sample_rate, start=start, seconds=seconds)
        except AudioError as error:
            if not error.reason.startswith("is no audio"):
                raise
            reason = "is damaged; copy its tar file again (oscine shards --check names damaged shards)"
            raise AudioError(error.path, reason) from None

    def _check_member(self, path: Path, recording: int) -> None:
        """Raise an error where a tar file does not have a recording where the index says."""
        try:
            with path.open("rb") as file:
                found = _member(file, int(self.offset[recording]))
        except OSError as error:
            reason = f"could not be opened ({error.strerror}); check the disk or the connection to it"
            raise AudioError(path, reason) from None
        if found != (self.members[recording], int(self.length[recording])):
            raise AudioError(path, f"has no {self.names[recording].as_py()} where {ROWS} says; {AGAIN}")
