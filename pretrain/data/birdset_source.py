"""BirdSet's recordings as something to pretrain on: clips around the events that were found in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from oscine.models.audio.channels import MIX, Channel
from oscine.models.audio.load import AudioError
from oscine.models.recordings.birdset import BirdSet, curate
from oscine.pretrain.data.spans import Span

logger = logging.getLogger(__name__)


class Events:
    """The training recordings of a configuration of BirdSet, each as often as it has events that are kept.

    most: events of a recording, for species with more than 500; None is all. XCL with 2 is Bird-MAE's XCL-1.7M.
    seed: of which they are.
    """

    def __init__(self, folder: Path, most: int | None = 2, seed: int = 0, channel: Channel = MIX) -> None:
        self.sample_rate: int | None = None
        self.channel = channel
        self.birdset = BirdSet(folder)
        self.recordings = self.birdset.recordings
        self.contents = self.recordings.contents
        found = self.birdset.events()
        kept = found
        if most is not None:
            kept = found.iloc[curate(found["row"], self.birdset.species(found["row"]), most, seed)]
        logger.info("%s: %d of %d events are kept", folder, len(kept), len(found))
        self.kept = kept

    def spans(self) -> Iterator[Span | AudioError]:
        seconds = self.recordings.seconds
        for row in np.flatnonzero(self.birdset.numbers < 0):
            reason = "lies in none of the tar files; download them again or pass over it"
            yield AudioError(self.birdset.folder / self.birdset.files[row], reason)
        yield from self.recordings.unread().values()
        for recording, start, end in self.kept[["recording", "start", "end"]].itertuples(index=False):
            if recording >= 0 and not np.isnan(seconds[recording]):
                yield Span(recording, start, end, float(seconds[recording]))

    def name(self, recording: int) -> str:
        return str(self.recordings.place(recording))

    def load(self, recording: int, sample_rate: int, start: float, seconds: float) -> Tensor:
        return self.recordings.load(recording, sample_rate, start, seconds, self.channel)
