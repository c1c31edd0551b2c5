"""Tar files of others as something to pretrain on: a folder as webdataset lays it, KEY.flac beside KEY.json, no index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from oscine.models.audio import AudioError
from oscine.models.errors import OscineError
from oscine.models.scan import SUFFIXES
from oscine.models.tars import Tars
from oscine.pretrain.shards import load_member
from oscine.pretrain.stretches import Span

TARS = (".tar", ".tar.gz", ".tgz")


def find_tars(folder: Path) -> list[Path]:
    """The tar files of a folder, in the order of their names; none where recordings or folders of them lie beside."""
    files = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]
    tars = [path for path in files if path.name.lower().endswith(TARS)]
    beside = tars and any(path.suffix.lower() in SUFFIXES or path.is_dir() for path in files)
    return [] if beside else tars


class TarFiles:
    """Every recording in tar files, whatever lies with it; `oscine.models.tars` indexes them, once."""

    def __init__(self, paths: list[Path]) -> None:
        self.sample_rate: int | None = None
        self.tars = Tars(paths)
        if not len(self.tars.names):
            raise OscineError(
                f"no recordings in {len(paths)} tar files, such as {paths[0]}; looked for {', '.join(SUFFIXES)}"
            )

    def spans(self) -> Iterator[Span | AudioError]:
        for recording, seconds in enumerate(self.tars.seconds.tolist()):
            if np.isnan(seconds):
                yield AudioError(
                    self.tars.place(recording), "is no audio that can be read here; copy its tar file again"
                )
            else:
                yield Span(recording, 0.0, seconds)

    def name(self, recording: int) -> str:
        return str(self.tars.place(recording))

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        """Of a tar only the part is read, of a compressed one the whole recording."""
        tar = self.tars.tar[recording]
        if self.tars.indices[tar].points is not None:
            return self.tars.load(recording, sample_rate, start, seconds)
        offset, length = int(self.tars.offset[recording]), int(self.tars.length[recording])
        place = self.tars.place(recording)
        return load_member(self.tars.paths[tar], place, offset, length, sample_rate, start, seconds)
