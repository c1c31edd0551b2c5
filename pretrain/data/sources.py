"""Find the recordings that a file or folder names: files, a manifest, tars, shards, BirdSet's or AudioSet's folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from oscine.models.audio.channels import EACH, MIX, Channel, missing_channel, one_channel, parse_channel
from oscine.models.audio.load import AudioError, load_audio, read_headers, warn_once
from oscine.models.audio.scan import LISTS, SUFFIXES, check_permitted, find_recordings
from oscine.models.audio.tar import Tars
from oscine.models.errors import OscineError
from oscine.models.files import DIGITS
from oscine.models.recordings.audioset import find_audioset, is_audioset
from oscine.models.recordings.birdset import BirdSet, curate, is_birdset
from oscine.models.recordings.tables import read_list
from oscine.pretrain.data.shards import ShardSource, is_shards
from oscine.pretrain.data.spans import RecordingSource, Span

logger = logging.getLogger(__name__)
TARS = (".tar", ".tar.gz", ".tgz")


def find_source(
    recordings: str | Path | Sequence[str | Path], events: int | None = 2, seed: int = 0, channel: Channel = MIX
) -> RecordingSource:
    """Return the source of what `data.recordings` names: files, a manifest, or a folder.

    events, seed: how many of a recording of BirdSet's, and which. channel: as `parse_channel` takes it.
    """
    channel = parse_channel(channel)
    if not isinstance(recordings, (str, Path)):
        return FileSource([Path(path) for path in recordings], channel=channel)
    recordings = Path(recordings)
    check_permitted(recordings)
    if recordings.suffix.lower() in LISTS and not recordings.is_dir():
        return read_manifest(recordings, channel)
    if is_shards(recordings):
        return ShardSource(recordings, channel)
    if is_birdset(recordings):
        return BirdSetSource(recordings, events, seed, one_of_tars(recordings, channel))
    if is_audioset(recordings):
        return FileSource(find_audioset(recordings), channel=channel)
    if paths := find_tars(recordings):
        channel = one_of_tars(recordings, channel)  # before the tars are read to be indexed
        tars = Tars(paths)
        if not len(tars.names):
            raise OscineError(
                f"no recordings in {len(paths)} tar files, such as {paths[0]}; looked for {', '.join(SUFFIXES)}"
            )
        return TarSource(tars, channel)
    return FileSource(find_recordings(recordings), channel=channel)


def one_of_tars(folder: Path, channel: Channel) -> Channel:
    """Return the channel; an error where it is each, as an index of tar files has no numbers of channels."""
    if channel == EACH:
        raise OscineError(
            f"{folder} holds tar files, whose recordings' channels are not counted before they are read: channel {EACH} is "
            f"for files of their own; choose {MIX}, left, right or a number from 1, or unpack them"
        )
    return channel


class FileSource:
    """A recording a file, or a channel of a file.

    spans: what is used of the files; all by default. channel: as `parse_channel` gives it; of each, the recording of a
    file's channel n has the file's number and n - 1 times as many as there are files.
    """

    def __init__(self, paths: Sequence[Path], spans: Sequence[Span] | None = None, channel: Channel = MIX) -> None:
        self.sample_rate: int | None = None
        self.contents = ""
        self.paths, self.asked, self.channel = paths, spans, channel

    def spans(self) -> Iterator[Span | AudioError]:
        ends: list[float] = []
        channels: list[int] = []  # that are recordings of their own
        hashed = sha256()
        for path, known in zip(self.paths, read_headers(self.paths)):
            if not isinstance(known, AudioError):
                info, (_, _, stamp) = known  # its time may be another where it was copied to
                hashed.update(stamp.encode())
                wanted = 1 if self.channel == EACH else one_channel(self.channel)
                if missing := missing_channel(wanted, info.channels):
                    known = AudioError(path, missing)
            channels.append(info.channels if self.channel == EACH and not isinstance(known, AudioError) else 1)
            ends.append(-1.0 if isinstance(known, AudioError) else known[0].seconds)
            if isinstance(known, AudioError):
                yield known
                continue
            if info.note:
                warn_once(path, info.note)
        self.contents = hashed.hexdigest()[:DIGITS]
        for recording, start, end, _ in map(Span, range(len(ends))) if self.asked is None else self.asked:
            if start < ends[recording]:
                for before in range(channels[recording]):
                    yield Span(recording + before * len(self.paths), start, min(end, ends[recording]))
            elif ends[recording] >= 0:
                reason = f"lasts {ends[recording]:.3f} s and has no stretch from {start:g} s; mend its row"
                yield AudioError(self.paths[recording], reason)

    def name(self, recording: int) -> str:
        path, channel = self._place(recording)
        return f"{path}, channel {channel}" if self.channel == EACH else str(path)

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        path, channel = self._place(recording)
        return load_audio(path, sample_rate, start, seconds, channel)

    def _place(self, recording: int) -> tuple[Path, Channel]:
        before, number = divmod(recording, len(self.paths))
        return self.paths[number], before + 1 if self.channel == EACH else self.channel


def read_manifest(path: Path, channel: Channel = MIX) -> FileSource:
    """Read the recordings and stretches of a list; a recording, and a stretch, counts as often as it has rows."""
    listed = read_list(path)
    listed.check_found(all_of_them=True)
    numbers, names = pd.factorize(pd.Series(listed.names))
    return FileSource(
        [listed.place(name) for name in names],
        [Span(*row) for row in zip(numbers.tolist(), listed.starts, listed.ends)],
        channel,
    )


def find_tars(folder: Path) -> list[Path]:
    """List the tar files of a folder, by name, as webdataset lays them; none where recordings or folders lie beside."""
    files = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]
    tars = [path for path in files if path.name.lower().endswith(TARS)]
    if tars and any(path.suffix.lower() in SUFFIXES or path.is_dir() for path in files):
        return []
    usable = [path for path in tars if _can_be_read(path)]
    if tars and not usable:
        raise OscineError(f"none of the {len(tars)} tar files in {folder} can be read, such as {tars[0].name}")
    return usable


def _can_be_read(path: Path) -> bool:
    """Return whether a tar file is a file that may be read; log why not."""
    reason = "" if path.is_file() else "there is no such file" if path.is_symlink() else "is no file"
    if not reason:
        try:
            path.open("rb").close()
        except OSError as error:
            reason = f"could not be opened ({error.strerror})"
    if reason:
        logger.warning("left out: %s: %s", path, reason)
    return not reason


class TarSource:
    """Every recording in tar files, whatever lies with it; `Tars` indexes them, once."""

    def __init__(self, tars: Tars, channel: Channel = MIX) -> None:
        self.sample_rate: int | None = None
        self.tars, self.channel, self.contents = tars, channel, tars.contents

    def spans(self) -> Iterator[Span | AudioError]:
        unread = self.tars.unread()
        for recording, seconds in enumerate(self.tars.seconds.tolist()):
            yield unread.get(recording) or Span(recording, 0.0, seconds)

    def name(self, recording: int) -> str:
        return str(self.tars.path_of(recording))

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        """Load a part of a recording: of a tar that part is read, of a compressed one all, unless it is long."""
        return self.tars.load(recording, sample_rate, start, seconds, self.channel)


class BirdSetSource(TarSource):
    """The training recordings of a configuration of BirdSet, each as often as it has events that are kept.

    most: events of a recording, for species with more than 500; None is all. XCL with 2 is Bird-MAE's XCL-1.7M.
    seed: of which they are.
    """

    def __init__(self, folder: Path, most: int | None = 2, seed: int = 0, channel: Channel = MIX) -> None:
        self.birdset = BirdSet(folder)
        super().__init__(self.birdset.recordings, channel)
        found = self.kept = self.birdset.events()
        if most is not None:
            self.kept = found.iloc[curate(found["row"], self.birdset.species(found["row"]), most, seed)]
        logger.info("%s: %d of %d events are kept", folder, len(self.kept), len(found))

    def spans(self) -> Iterator[Span | AudioError]:
        for row in np.flatnonzero(self.birdset.numbers < 0):
            reason = "lies in none of the tar files; download them again or pass over it"
            yield AudioError(self.birdset.folder / self.birdset.files[row], reason)
        yield from self.tars.unread().values()
        for recording, start, end in self.kept[["recording", "start", "end"]].itertuples(index=False):
            if recording >= 0 and not np.isnan(seconds := self.tars.seconds[recording]):
                yield Span(recording, start, end, float(seconds))
