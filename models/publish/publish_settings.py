"""What whoever publishes says, and what is wrong with it before anything is loaded or anybody is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from oscine.models.encoders.base.provenance import NOT_STATED
from oscine.models.errors import OscineError
from oscine.models.hub.compat import check_repository_name

DRAFT = "oscine-draft-"  # branches that are made and taken away while publishing
# What git takes for a tag, and nobody for a branch or a commit.
TAG = re.compile(rf"(?!main$|{DRAFT}|[0-9a-f]{{40}}$|.*\.lock$)\w+([.-]\w+)*", re.ASCII)


class Data(NamedTuple):
    """What an encoder was pretrained on."""

    name: str  # OWNER/DATASET where it is on the Hub
    licence: str = NOT_STATED


class Terms(NamedTuple):
    """What whoever publishes says: under which name, tag and licence, and what else is to be told."""

    repository: str
    tag: str = "v1"
    licence: str | None = None  # of the weights, as the Hub names it, or NAME=LINK; None keeps what they came under
    data: Sequence[Data] = ()
    scores: Sequence[str] = ()  # as `read_scores` takes them
    relicence: bool = False  # the owners of the weights that these began with allow it


def parse_data(text: str) -> Data:
    """NAME or NAME=LICENCE."""
    name, _, licence = text.partition("=")
    return Data(name, licence) if licence else Data(name)


def check_terms(repository: str, tag: str) -> None:
    """Raise where something cannot be published under that name and tag."""
    check_repository_name(repository)
    if "/" not in repository:
        raise OscineError(f"{repository!r} is not the name of a repository; expected owner/name")
    if not TAG.fullmatch(tag):
        raise OscineError(
            f"{tag!r} cannot be a tag; expected letters, digits, '.', '-' and '_', such as v2, and not main"
        )
