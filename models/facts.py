"""What is known of an encoder that is published: everything its card and metadata are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.licences import Licence, choose_licence
from oscine.models.origin import asked_again, origin_of
from oscine.models.scores import Scores, read_scores
from oscine.models.source import NOT_STATED, Origin
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
    origin: Origin | None = None

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    @property
    def base(self) -> str | None:
        """The repository of what this was made from."""
        return self.origin.repository if self.origin else None

    @property
    def treatment(self) -> str:
        """Of the encoder, while it was judged."""
        return "frozen"

    @property
    def kind(self) -> str:
        return type(self.encoder).__name__

    @property
    def official(self) -> str | None:
        """The zoo's name of these very weights, if it has one."""
        row = find_published(self.origin.model) if self.origin and not self.origin.trained else None
        return row.name if row else None

    @property
    def paper(self) -> str | None:
        """The arXiv number of the method's paper."""
        known = ARCHITECTURES.get(self.origin.model.partition(".")[0]) if self.origin else None
        others = [row for row in ARCHITECTURES.values() if row.encoder is type(self.encoder)]
        papers = [row.paper for row in ([known] if known else []) + others]
        return next((paper.split()[1] for paper in papers if paper.startswith("arXiv")), None)


def encoder_facts(
    saved: Encoder,
    repository: str,
    tag: str,
    licence: str | None,
    data: Sequence[Data] = (),
    scores: Sequence[str] = (),
    relicence: bool = False,
    run: Run | None = None,
) -> Facts:
    """What is known of an encoder, as it was loaded from a folder.

    licence: None keeps what the weights came under. scores: as `read_scores` takes them.
    """
    sha256, origin = str((saved.provenance or {})["sha256"]), asked_again(origin_of(saved))
    chosen = choose_licence(licence, origin, relicence)
    found = [read_scores(text, sha256) for text in scores]
    names = [score.name for score in found]
    if len(set(names)) < len(names):
        raise OscineError(f"scores of the same name ({', '.join(names)}); run `oscine probe` with another --name")
    return Facts(repository, tag, saved, sha256, chosen, data or known_data(run, origin), run, found, origin)


def known_data(run: Run | None, origin: Origin | None) -> list[Data]:
    """What a run and the origin of its weights say that they were trained on."""
    row = find_published(origin.model) if origin else None
    return [Data(name) for name in (run and run.recordings, row and row.data) if name]
