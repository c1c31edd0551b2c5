"""What is known of an encoder that is published: everything its card and metadata are made from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.zoo import ARCHITECTURES

# The Hub's names of the licences that weights are usually under.
LICENCES = (
    "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "cc-by-nc-nd-4.0", "openrail",
)  # fmt: skip


class Licence(NamedTuple):
    """Of the weights, as the Hub names it; with a link where it has no name for it."""

    name: str
    link: str | None = None


class Data(NamedTuple):
    """What an encoder was pretrained on."""

    name: str  # OWNER/DATASET where it is on the Hub
    licence: str = "not stated"


class Run(NamedTuple):
    """What a pretraining run has written down."""

    steps: int
    losses: dict[str, tuple[float, float]]  # every logged term, first and last
    seconds: float | None = None  # of wall time, over all its resumptions
    machine: dict[str, Any] | None = None
    settings: str | None = None  # its complete YAML
    init: str | None = None  # whose weights it began with
    recordings: str | None = None  # what its folder, or list of them, is called


class Benchmark(NamedTuple):
    """A data set on the Hub whose leaderboard a score belongs to."""

    dataset: str
    task: str
    metric: str


class Scores(NamedTuple):
    """What `oscine probe` has found with these weights frozen."""

    name: str
    probe: str
    table: str
    folds: dict[str, list[float]]  # a metric's values on the parts that define it
    content: bytes  # the whole scores.json
    benchmark: Benchmark | None = None


class Source(NamedTuple):
    """The official checkpoint that an encoder was converted from."""

    model: str
    file: str
    sha256: str
    licence: str
    repository: str | None = None
    revision: str | None = None

    def as_json(self) -> bytes:
        """As it lies beside the weights."""
        return (json.dumps(self._asdict(), indent=2) + "\n").encode()


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
    def paper(self) -> str | None:
        """The arXiv number of the method's paper."""
        known = ARCHITECTURES[self.source.model.partition(".")[0]] if self.source else None
        rows = [known] if known else [row for row in ARCHITECTURES.values() if row.encoder is type(self.encoder)]
        return next((row.paper.split()[1] for row in rows if row.paper.startswith("arXiv")), None)


# What the authors of official checkpoints state, as the Hub names it. Audio-MAE's two statements differ: the stricter holds.
STATED = {"MIT": "mit", "CC BY-NC 4.0 (README: CC BY 4.0)": "cc-by-nc-4.0"}


def choose_licence(text: str | None, source: Source | None) -> Licence:
    """The licence that was given, or the one that converted weights carry along; never another one than theirs."""
    carried = STATED.get(source.licence) if source else None
    if source and carried and text not in (None, carried):
        raise OscineError(f"licence {text!r}, but {source.model} is under {source.licence}; leave --licence out")
    return parse_licence(text or carried or "")


def parse_licence(text: str) -> Licence:
    """A licence by its name on the Hub, or any other as NAME=LINK."""
    name, _, link = text.partition("=")
    if re.fullmatch(r"https?://\S+", link) and re.fullmatch(r"[a-z0-9.-]+", name):
        return Licence(name, link)
    if text not in LICENCES:
        raise OscineError(
            f"licence {text or 'not given'}; choose one for the weights: {', '.join(LICENCES)}, or another as NAME=https://..."
        )
    return Licence(text)
