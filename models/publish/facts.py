"""Gather what is known of an encoder to publish: everything that its card is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from oscine.models.checkpoints import ARCHITECTURES, find_published
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import Origin
from oscine.models.hub.origin import origin_of, refresh_licence
from oscine.models.plugins.classes import module_of
from oscine.models.publish.scores import Scores, check_names, read_scores
from oscine.models.publish.terms import Data, Licence, Terms, choose_licence


class Run(NamedTuple):
    """The facts that a pretraining run has written down."""

    steps: int
    losses: dict[str, tuple[float, float]]  # every logged term, first and last
    seconds: float | None = None  # of wall time, over all its resumptions
    machine: dict[str, Any] | None = None
    settings: str | None = None  # its complete YAML, without this machine's paths
    init: str | None = None  # whose weights it began with
    recordings: str | None = None  # what its folder, or list of them, is called


@dataclass(frozen=True)
class Facts:
    """All facts about what is published as OWNER/NAME under a tag: an encoder, or a probe that reads it."""

    repository: str
    tag: str
    encoder: Encoder
    published_sha256: str  # of the tensors that are published
    licence: Licence
    data: Sequence[Data] = ()
    run: Run | None = None
    scores: Sequence[Scores] = ()
    encoder_origin: Origin | None = None

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    @property
    def base(self) -> str | None:
        """The repository of what this was made from."""
        return self.encoder_origin.repository if self.encoder_origin else None

    @property
    def treatment(self) -> str:
        """Of the encoder, while it was judged."""
        return "frozen"

    @property
    def kind(self) -> str:
        return type(self.encoder).__name__

    @property
    def own_classes(self) -> dict[str, str]:
        """The classes that are not oscine's, without which nothing can be loaded, and the module of each."""
        module = module_of(type(self.encoder))
        return {} if module is None else {self.kind: module}

    @property
    def official(self) -> str | None:
        """The zoo's name of these very weights, if it has one."""
        origin = self.encoder_origin
        row = find_published(origin.model) if origin and not origin.trained else None
        return row.name if row else None

    @property
    def supervised(self) -> bool:
        """Whether the weights have seen labels, or began with some that had."""
        row = find_published(self.encoder_origin.model) if self.encoder_origin else None
        return row is not None and row.supervised

    @property
    def paper(self) -> str | None:
        """The arXiv number of the method's paper."""
        origin = self.encoder_origin
        known = find_published(origin.model) or ARCHITECTURES.get(origin.model.partition(".")[0]) if origin else None
        papers = [known.paper] if known else []
        papers += [row.paper for row in ARCHITECTURES.values() if row.encoder == self.kind]
        return next((paper.split()[1] for paper in papers if paper.startswith("arXiv")), None)


def said_to_be(origin: Origin) -> bool:
    """Return whether a file is only called by a name of the zoo: it was not fetched, and no hash proves it."""
    row = find_published(origin.model)
    return row is not None and origin.repository is None and origin.sha256 != row.sha256


def encoder_facts(saved: Encoder, terms: Terms, run: Run | None = None) -> Facts:
    """Gather what is known of an encoder that was loaded from a folder."""
    sha256, origin = str((saved.provenance or {})["sha256"]), refresh_licence(origin_of(saved))
    chosen = choose_licence(terms.licence, origin, terms.relicence)
    found = [read_scores(text, sha256) for text in terms.scores]
    check_names(found)
    row = find_published(origin.model) if origin else None
    data = terms.data or [Data(name) for name in (run and run.recordings, row and row.data) if name]
    return Facts(terms.repository, terms.tag, saved, sha256, chosen, data, run, found, origin)
