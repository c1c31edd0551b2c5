"""Pack a folder of recordings into shards; whenever it is stopped, the same call ends with the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from oscine.models.audio.channels import EACH, MIX, Channel, parse_channel
from oscine.models.audio.workers import cores, read_in_processes
from oscine.models.embed.table import writing
from oscine.models.embed.table_metadata import errors_in_csv, read_errors
from oscine.models.errors import OscineError
from oscine.models.files import put, write_whole
from oscine.models.json_text import check_fields, check_same_settings, read_json
from oscine.models.locks import lock_exclusive
from oscine.models.progress import ShowProgress, show_nothing
from oscine.models.recordings.headers import HeaderScan, check_source, scan_headers
from oscine.models.replace_outputs import is_litter, remove
from oscine.models.text.words import counted
from oscine.pretrain.data.shards import (
    AGAIN,
    CHANNEL,
    COLUMNS,
    ERRORS,
    FORMATS,
    HIGHEST_RATE,
    INDEX,
    PLAN_FIELDS,
    ROWS,
    SHARD,
    WORK,
    is_finished,
    read_index,
    shard_name,
)

PLAN, LOCK, PART = "plan.json", "lock", "part"
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)  # of a tar
RECORD = SHARD | {"next": int, "rows": list[list[str | int]], "listed": dict[str, str]}  # of a shard that is whole


class Row(NamedTuple):
    """A recording in the index. name: below the folder packed; offset, length: in bytes, in the shard of this number."""

    name: str
    key: str
    shard: int
    offset: int
    length: int
    frames: int


ROW = list(Row.__annotations__)


class Packed(NamedTuple):
    """What stands in a folder of shards; `listed`: recordings that were left out or are cut short, and why."""

    out: Path
    shards: int
    recordings: int
    seconds: float
    size: int
    listed: dict[str, str]


def pack_shards(
    folder: str | Path,
    out: str | Path,
    sample_rate: int,
    format: str = "flac",
    size: int = 10**9,
    workers: int | None = None,
    progress: ShowProgress = show_nothing,
    *,
    channel: Channel = MIX,
) -> Packed:
    """Pack every recording below `folder` into `out`, mono at `sample_rate` Hz, as `shards.py` describes it.

    A shard ends before the recording with which it would exceed `size` bytes; a longer one has a shard of its own. What
    cannot be read is listed and left out, of what is cut short the readable part is packed. The same call goes on after the
    last whole shard of one that was stopped; anything else in `out` is refused.

    format: flac (16 bits) or ogg (Vorbis). workers: processes that decode and encode, by default one a core; 0 is this one.
    progress: called with how many recordings of how many are done. channel: that is packed, "mix" (the mean of all), "left",
    "right", a number from 1, or "each": a recording a channel, whose names in the shards end with ", channel 2".
    """
    folder, out, channel = Path(folder), Path(out), parse_channel(channel)
    check_packing(out, sample_rate, format, size, workers, channel)
    found = scan_headers(folder, channel=channel)
    source = "\n".join(f"{recording.name}\0{recording.stamp}" for recording in found.recordings)
    plan = {
        "sample_rate": sample_rate, "format": format, "size": size,
        "source": hashlib.sha256(source.encode()).hexdigest(), "channel": channel,
    }  # fmt: skip
    _check_free(out, plan)
    workers = cores() if workers is None else workers
    with writing(out):
        if not is_finished(out):
            with _alone(out, plan) as work:
                if not is_finished(out):  # by who had the lock before
                    # A folder for this call alone: a killed one's processes may still be writing theirs.
                    with TemporaryDirectory(dir=work) as scratch:
                        _pack(found, out, Path(scratch), plan, workers, progress)
        elif (out / WORK).exists():  # of a call that was killed in its last moment, or is in it
            with suppress(OscineError, OSError), _alone(out, plan):
                pass
    return read_packed(out)


def check_packing(
    out: Path, sample_rate: int, format: str, size: int, workers: int | None, channel: Channel = MIX
) -> None:
    """Raise what is wrong with the arguments of `pack_shards`, or in the way in `out`, whatever the recordings are."""
    if format not in FORMATS:
        raise OscineError(f"no format {format!r}; choose from {', '.join(FORMATS)}")
    if not 1 <= sample_rate <= HIGHEST_RATE or size < 1:
        raise OscineError(
            f"a rate of {sample_rate} Hz and shards of {size} bytes; expected 1 to {HIGHEST_RATE} Hz and 1 byte at least"
        )
    if workers is not None and workers < 0:
        raise OscineError(f"workers is {workers}, expected 0 (this process) or more")
    _check_free(out, {"sample_rate": sample_rate, "format": format, "size": size, "channel": parse_channel(channel)})


def read_packed(out: Path) -> Packed:
    """Read what stands in a folder of shards."""
    index = read_index(out)
    listed = read_errors(out / ERRORS, AGAIN) if index.get("listed", True) else {}  # 0.1 wrote it always
    size = sum(shard["bytes"] for shard in index["shards"])
    return Packed(out, len(index["shards"]), index["recordings"], index["seconds"], size, listed)


def _pack(
    found: HeaderScan,
    out: Path,
    scratch: Path,
    plan: dict[str, Any],
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    from oscine.pretrain.data.transcode import Transcoder

    done = _read_records(out)
    listed = dict(found.listed)
    for record in done:
        listed |= record["listed"]
    numbers = range(done[-1]["next"] if done else 0, len(found.recordings))
    transcoder = Transcoder(found.recordings, scratch, plan["sample_rate"], plan["format"])
    shard = ShardWriter(out, out / WORK, len(done))
    try:
        for number, made in zip(numbers, read_in_processes(transcoder, numbers, workers=workers)):
            recording, path = found.recordings[number], transcoder.place(number)
            name = recording.name
            if made.failed:
                raise OscineError(f"{out} could not be written ({made.failed}); make room; whole shards are kept")
            if made.frames:
                own = f"{name}, channel {recording.channel}" if plan["channel"] == EACH else name
                seconds = made.frames / plan["sample_rate"]
                about = json.dumps({"name": own, "sample_rate": plan["sample_rate"], "seconds": seconds}).encode()
                if shard.rows and shard.size_with(path, about) > plan["size"]:
                    done.append(shard.finish(number))
                    shard = ShardWriter(out, out / WORK, len(done))
                shard.add(path, about, own, made.frames)
            if made.reason:
                check_source(recording.path, [recording.path for recording in found.recordings])
                shard.listed[name] = listed[name] = made.reason
            path.unlink()
            progress(number + 1, len(found.recordings))
        if shard.rows:
            done.append(shard.finish(len(found.recordings)))
    finally:
        shard.close()
    if not done:
        name, reason = next(iter(listed.items()))
        raise OscineError(f"none of {counted(len(listed), 'recording')} can be packed, such as {name}: {reason}")
    _write_index(out, plan, done, listed)


def _write_index(out: Path, plan: dict[str, Any], done: list[dict[str, Any]], listed: dict[str, str]) -> None:
    if listed:
        write_whole(out / ERRORS, errors_in_csv(listed))
    columns = list(zip(*[row for shard in done for row in shard["rows"]]))
    rows = pa.table([pa.array(column, field.type) for column, field in zip(columns, COLUMNS)], schema=COLUMNS)
    table = io.BytesIO()
    pq.write_table(rows, table, compression="zstd")
    write_whole(out / ROWS, table.getvalue())
    shards = [{key: shard[key] for key in ("name", "bytes", "sha256")} for shard in done]
    about = {"recordings": len(rows), "seconds": sum(columns[-1]) / plan["sample_rate"], "listed": len(listed)}
    about |= {"rows_sha256": hashlib.sha256(table.getvalue()).hexdigest(), "shards": shards}
    write_whole(out / INDEX, json.dumps(plan | about, indent=1).encode())


def _read_records(out: Path) -> list[dict[str, Any]]:
    """Read the records of the shards that are whole."""
    done: list[dict[str, Any]] = []
    while (out / shard_name(len(done))).exists() and (record := record_path(out / WORK, len(done))).exists():
        done.append(_read_record(record, len(done)))
    return done


def _read_record(path: Path, number: int) -> dict[str, Any]:
    """Read the record of a shard that is whole."""
    anew = f"delete {path.parent.parent} and pack it anew"
    record = check_fields(read_json(path, anew), RECORD, path, anew)
    for row in record["rows"]:
        kinds = [type(value) for value in row]
        if kinds != [str, str, int, int, int, int] or row[ROW.index("shard")] != number:
            raise OscineError(f"{path}: a row is {str(row)[:80]}, expected {', '.join(ROW)}; {anew}")
    if record["name"] != shard_name(number) or record["next"] < 1:
        raise OscineError(f"{path} is not of shard {number}; {anew}")
    return record


def _check_free(out: Path, plan: dict[str, Any]) -> None:
    """Refuse `out` unless it is empty or this very call's. plan: without `source` where that is not known."""
    if out.exists() and not out.is_dir():
        raise OscineError(f"{out} is a file, expected a folder for shards; choose another name")
    begun = out / INDEX if is_finished(out) else out / WORK / PLAN
    if not begun.exists():
        others = sorted(path.name for path in out.glob("*") if path.name != WORK and not is_litter(path))
        # Of a call that was killed before it wrote its plan there are the lock, and half a plan.
        others += sorted(path.name for path in (out / WORK).glob("*") if path.stem != LOCK and path.suffix != ".part")
        if others:
            raise OscineError(f"{out} holds other files, such as {others[0]}; name a new folder or an empty one")
        return
    anew = "name another folder or delete it"
    saved = {"channel": MIX} | check_fields(read_json(begun, anew), PLAN_FIELDS, begun, anew, CHANNEL)
    complaint = f"{out} holds shards of another call:"
    check_same_settings({key: saved[key] for key in plan}, plan, complaint=complaint, remedy=anew, aside=["source"])
    if "source" in plan and saved["source"] != plan["source"]:
        raise OscineError(f"{complaint} the recordings are others, or changed; {anew}")


@contextmanager
def _alone(out: Path, plan: dict[str, Any]) -> Iterator[Path]:
    """Hold the folder for what is not finished alone: when this process dies, however it dies, another may go on."""
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    with lock_exclusive(work / LOCK, f"packing {out}", "choose another folder"):
        _check_free(out, plan)  # again: another call may have begun since
        for left in filter(Path.is_dir, work.iterdir()):
            shutil.rmtree(left, ignore_errors=True)
        write_whole(work / PLAN, json.dumps(plan).encode())
        yield work
        for left in work.iterdir():  # all but the lock, while it is held
            if left.stem != LOCK:
                remove(left)
    with suppress(OSError):  # where another process has its lock in it
        work.rmdir()


class ShardWriter:
    """A tar file with KEY.flac (or .ogg) and KEY.json of each recording; its record in `work` says what it holds."""

    def __init__(self, out: Path, work: Path, number: int) -> None:
        self.number, self.target = number, out / shard_name(number)
        self.record, self.part = record_path(work, number), work / PART
        self.rows: list[Row] = []
        self.listed: dict[str, str] = {}  # recordings on the way that were left out, or are cut short, and why
        self.hash = hashlib.sha256()
        self.size = 0
        self.file = self.part.open("wb")

    def size_with(self, recording: Path, about: bytes) -> int:
        """Return the bytes of the shard if it took this recording, too, and ended."""
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


def record_path(work: Path, number: int) -> Path:
    return work / f"{number:06d}.json"


def _header(name: str, length: int) -> bytes:
    """Make the header of a tar's member; nothing in it depends on when and by whom it is made."""
    member = tarfile.TarInfo(name)
    member.size = length
    return member.tobuf(tarfile.GNU_FORMAT)  # a block; this format knows of members of 8 GB and more


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
