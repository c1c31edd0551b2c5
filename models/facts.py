"""What is known of an encoder that is published: everything its card and metadata are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from oscine.models.encoder import Encoder
from oscine.models.licences import Licence
from oscine.models.origin import NOT_STATED, Source
from oscine.models.scores import Scores
from oscine.models.zoo import ARCHITECTURES, find_published


class Data(NamedTuple):
    """What an encoder was pretrained on."""

    name: str  # OWNER/DATASET where it is on the Hub
    licence: str = NOT_STATED


class Run(NamedTuple):
    """What a pretraining run has written down."""

    steps: int
    losses: dict[str, tuple[float, float]]  # every logged term, first and last
    seconds: float | None = None  # of wall time, over all its resumptions
    machine: dict[str, Any] | None = None
    settings: str | None = None  # its complete YAML, without this machine's paths
    init: str | None = None  # whose weights it began with
    recordings: str | None = None  # what its folder, or list of them, is called


@dataclass(frozen=True)
class Facts:
    """All that is known of an encoder that is published as OWNER/NAME, under a tag."""

    repository: str
    tag: str
    encoder: Encoder
    sha256: str  # of its weights
    licence: Licence
    data: Sequence[Data] = ()
    run: Run | None = None
    scores: Sequence[Scores] = ()
    source: Source | None = None

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    @property
    def kind(self) -> str:
        return type(self.encoder).__name__

    @property
    def official(self) -> str | None:
        """The zoo's name of these very weights, if it has one."""
        return self.source.model if self.source and not self.source.trained else None

    @property
    def paper(self) -> str | None:
        """The arXiv number of the method's paper."""
        known = ARCHITECTURES.get(self.source.model.partition(".")[0]) if self.source else None
        rows = [known] if known else [row for row in ARCHITECTURES.values() if row.encoder is type(self.encoder)]
        return next((row.paper.split()[1] for row in rows if row.paper.startswith("arXiv")), None)


def known_data(run: Run | None, source: Source | None) -> list[Data]:
    """What a run and the source of its weights say that they were trained on."""
    row = find_published(source.model) if source else None
    return [Data(name) for name in (run and run.recordings, row and row.data) if name]
