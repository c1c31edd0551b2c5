"""Read the headers of recordings: what will be embedded, and what cannot be and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from oscine.models.audio.channels import EACH, MIX, Channel, missing_channel, one_channel
from oscine.models.audio.load import AudioError, AudioInfo, read_headers
from oscine.models.audio.shard import ALL, Shard
from oscine.models.errors import OscineError
from oscine.models.files import Stamp
from oscine.models.progress import ShowProgress, show_nothing
from oscine.models.recordings.inputs import WHOLE, Recordings, Stretch, find_inputs

SHORTEST = 0.001  # seconds of a stretch: less may be rounded to no sample
WITNESSES = 20  # other recordings that are tried where one cannot be opened


class Recording(NamedTuple):
    """One file to embed, or a stretch or a channel of it.

    name        stands in the table's column `file`
    stamp       the file's size in bytes, its time in ns, and a hash of its first and last part
    start, end  of the stretch, in seconds; no end is the file's
    channel     its number from 1; 0 is the mean of all
    """

    path: Path
    name: str
    info: AudioInfo
    stamp: Stamp = (0, 0, "")
    start: float = 0.0
    end: float | None = None
    channel: int = 0

    @property
    def part(self) -> str:
        """Name the part of the file that it is, by a text that no other part has."""
        return f"{self.start!r} {self.end!r} {self.channel}"

    @property
    def seconds(self) -> float:
        return (self.info.seconds if self.end is None else min(self.end, self.info.seconds)) - self.start


class HeaderScan(NamedTuple):
    """A folder or a list, or a shard of it.

    recordings  in the order of their names; of one that is read by channels or stretches, one after the other
    listed      name to reason: what cannot be used, and what is cut short
    folder      of all shards together: how many recordings, and a hash of their names
    """

    recordings: list[Recording]
    listed: dict[str, str]
    folder: dict[str, int | str]


def scan_headers(
    recordings: Recordings,
    shard: Shard = ALL,
    *,
    progress: ShowProgress = show_nothing,
    channel: Channel = MIX,
) -> HeaderScan:
    """Read the headers of recordings, which are named as `find_inputs` takes them.

    progress: called with how many headers of how many have been read. channel: which one is to be read, or each.
    """
    inputs = find_inputs(recordings)
    listed = {name: reason for name, reason in inputs.refused.items() if shard.has(name)}
    mine = sorted(name for name in inputs.places if shard.has(name))
    found: list[Recording] = []
    for done, (name, known) in enumerate(zip(mine, read_headers([inputs.places[name] for name in mine])), start=1):
        progress(done, len(mine))
        if isinstance(known, AudioError):
            check_source(inputs.places[name], list(inputs.places.values()))
            listed[name] = known.reason
            continue
        recording = Recording(inputs.places[name], name, *known)
        parts, complaint = parts_of_file(recording, inputs.stretches.get(name, [WHOLE]), channel)
        found += parts
        if reasons := [reason for reason in (recording.info.note, complaint) if reason]:
            listed[name] = "; ".join(reasons)
    return HeaderScan(found, listed, inputs.describe())


def check_source(path: Path, others: Sequence[Path]) -> None:
    """Raise an error where a file cannot be opened, and none of some others either: the disk is gone, not a recording."""
    some = others[:: max(1, len(others) // WITNESSES)]
    if len(others) > 1 and not any(map(_opens, (path, *some))):
        raise OscineError(
            f"neither {path} nor {len(some)} others of its folder or list can be opened; check the disk, or the connection "
            "to it, and call again: what is done is kept"
        )


def _opens(path: Path) -> bool:
    """Return whether a file gives its first byte."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return bool(file.read(1)) or not path.stat().st_size
    except OSError:
        pass
    return False


def parts_of_file(recording: Recording, stretches: Sequence[Stretch], channel: Channel) -> tuple[list[Recording], str]:
    """Return the channels and stretches of a recording that have samples, and why some cannot be read, or ""."""
    seconds, channels = recording.info.seconds, recording.info.channels
    numbers = range(1, channels + 1) if channel == EACH else [one_channel(channel)]
    if missing := missing_channel(numbers[-1], channels):
        return [], missing
    made = {stretch: recording._replace(start=stretch.start, end=stretch.end) for stretch in stretches}
    there = {stretch: part for stretch, part in made.items() if stretch == WHOLE or part.seconds >= SHORTEST}
    parts = [part._replace(channel=number) for number in numbers for part in there.values()]
    absent = next((stretch for stretch in made if stretch not in there), None)
    return parts, f"lasts {seconds:.3f} s and has no stretch {absent}; correct its row" if absent else ""
