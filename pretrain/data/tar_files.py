"""Tar files of others as something to pretrain on: a folder as webdataset lays it, KEY.flac beside KEY.json, no index."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from oscine.models.audio.channels import MIX, Channel
from oscine.models.audio.load import AudioError
from oscine.models.audio.scan import SUFFIXES
from oscine.models.audio.tar import Tars
from oscine.models.errors import OscineError
from oscine.pretrain.data.spans import Span

logger = logging.getLogger(__name__)
TARS = (".tar", ".tar.gz", ".tgz")


def find_tars(folder: Path) -> list[Path]:
    """The tar files of a folder, in the order of their names; none where recordings or folders of them lie beside."""
    files = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]
    tars = [path for path in files if path.name.lower().endswith(TARS)]
    if tars and any(path.suffix.lower() in SUFFIXES or path.is_dir() for path in files):
        return []
    usable = [path for path in tars if _can_be_read(path)]
    if tars and not usable:
        raise OscineError(f"none of the {len(tars)} tar files in {folder} can be read, such as {tars[0].name}")
    return usable


def _can_be_read(path: Path) -> bool:
    """Whether a tar file is a file that may be read; why not is logged."""
    reason = "" if path.is_file() else "there is no such file" if path.is_symlink() else "is no file"
    if not reason:
        try:
            path.open("rb").close()
        except OSError as error:
            reason = f"could not be opened ({error.strerror})"
    if reason:
        logger.warning("left out: %s: %s", path, reason)
    return not reason


class TarFiles:
    """Every recording in tar files, whatever lies with it; `oscine.models.audio.tar` indexes them, once."""

    def __init__(self, paths: list[Path], channel: Channel = MIX) -> None:
        self.sample_rate: int | None = None
        self.channel = channel
        self.tars = Tars(paths)
        self.contents = self.tars.contents
        if not len(self.tars.names):
            raise OscineError(
                f"no recordings in {len(paths)} tar files, such as {paths[0]}; looked for {', '.join(SUFFIXES)}"
            )

    def spans(self) -> Iterator[Span | AudioError]:
        unread = self.tars.unread()
        for recording, seconds in enumerate(self.tars.seconds.tolist()):
            yield unread.get(recording) or Span(recording, 0.0, seconds)

    def name(self, recording: int) -> str:
        return str(self.tars.place(recording))

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        """Of a tar only the part is read, of a compressed one the whole recording, unless it is long."""
        return self.tars.load(recording, sample_rate, start, seconds, self.channel)
