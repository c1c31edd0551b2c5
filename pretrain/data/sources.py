"""What the name of a folder or file is a source of clips of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oscine.models.audio.channels import EACH, MIX, Channel, parse_channel
from oscine.models.audio.scan import LISTS, check_permitted, find_recordings
from oscine.models.errors import OscineError
from oscine.models.recordings.audioset import find_audioset, is_audioset
from oscine.models.recordings.birdset import is_birdset
from oscine.pretrain.data.birdset_source import Events
from oscine.pretrain.data.manifests import read_manifest
from oscine.pretrain.data.shards import Shards, is_shards
from oscine.pretrain.data.spans import Files, Source
from oscine.pretrain.data.tar_files import TarFiles, find_tars


def find_source(
    recordings: str | Path | Sequence[str | Path], events: int | None = 2, seed: int = 0, channel: Channel = MIX
) -> Source:
    """What `data.recordings` names: files, a manifest, or a folder: shards, BirdSet's, AudioSet's, of tars or recordings.

    events, seed: how many of a recording of BirdSet's, and which. channel: as `parse_channel` takes it.
    """
    channel = parse_channel(channel)
    if not isinstance(recordings, (str, Path)):
        return Files([Path(path) for path in recordings], channel=channel)
    recordings = Path(recordings)
    check_permitted(recordings)
    if recordings.suffix.lower() in LISTS and not recordings.is_dir():
        return read_manifest(recordings, channel)
    if is_shards(recordings):
        return Shards(recordings, channel)
    if is_birdset(recordings):
        return Events(recordings, events, seed, one_of_tars(recordings, channel))
    if is_audioset(recordings):
        return Files(find_audioset(recordings), channel=channel)
    tars = find_tars(recordings)
    if tars:
        return TarFiles(tars, one_of_tars(recordings, channel))
    return Files(find_recordings(recordings), channel=channel)


def one_of_tars(folder: Path, channel: Channel) -> Channel:
    """Return the channel; an error where it is each, as an index of tar files has no numbers of channels."""
    if channel == EACH:
        raise OscineError(
            f"{folder} holds tar files, whose recordings' channels are not counted before they are read: channel {EACH} is "
            f"for files of their own; choose {MIX}, left, right or a number from 1, or unpack them"
        )
    return channel
