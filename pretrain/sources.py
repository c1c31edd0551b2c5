"""What the name of a folder or file is a source of clips of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oscine.models.audioset import find_audioset, is_audioset
from oscine.models.birdset import is_birdset
from oscine.models.scan import LISTS, check_permitted, find_recordings
from oscine.pretrain.events import Events
from oscine.pretrain.manifests import read_manifest
from oscine.pretrain.shards import Shards, is_shards
from oscine.pretrain.stretches import Files, Source
from oscine.pretrain.tar_files import TarFiles, find_tars


def find_source(recordings: str | Path | Sequence[str | Path], events: int | None = 2, seed: int = 0) -> Source:
    """What `data.recordings` names: files, a manifest, or a folder: shards, BirdSet's, AudioSet's, of tars or recordings.

    events, seed: how many of a recording of BirdSet's, and which.
    """
    if not isinstance(recordings, (str, Path)):
        return Files([Path(path) for path in recordings])
    recordings = Path(recordings)
    check_permitted(recordings)
    if recordings.suffix.lower() in LISTS and not recordings.is_dir():
        return read_manifest(recordings)
    if is_shards(recordings):
        return Shards(recordings)
    if is_birdset(recordings):
        return Events(recordings, events, seed)
    if is_audioset(recordings):
        return Files(find_audioset(recordings))
    tars = find_tars(recordings)
    return TarFiles(tars) if tars else Files(find_recordings(recordings))
