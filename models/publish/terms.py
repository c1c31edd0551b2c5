"""Read and check what whoever publishes states: name, tag, licence and data; without torch or a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from oscine.models.compat import check_repository_name
from oscine.models.encoders.base.provenance import NOT_KNOWN, NOT_STATED, Origin
from oscine.models.errors import OscineError

STAGING_PREFIX = "oscine-draft-"  # branches that are made and taken away while publishing
# What git takes for a tag, and nobody for a branch or a commit.
TAG = re.compile(rf"(?!main$|{STAGING_PREFIX}|[0-9a-f]{{40}}$|.*\.lock$)\w+([.-]\w+)*", re.ASCII)

FREE = "cc0-1.0"  # asks for nothing
NAMED = (  # licences under which it is said whose weights these are
    "apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
    "openrail",
)  # fmt: skip
# Licences that can be chosen, by the Hub's names, with those under which weights may go on that were trained further.
LICENCES: dict[str, tuple[str, ...]] = {
    "apache-2.0": NAMED,
    "mit": NAMED,
    "bsd-3-clause": NAMED,
    FREE: (),  # any
    "cc-by-4.0": NAMED,
    "cc-by-sa-4.0": ("cc-by-sa-4.0",),
    "cc-by-nc-4.0": ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    "cc-by-nc-sa-4.0": ("cc-by-nc-sa-4.0",),
    "cc-by-nc-nd-4.0": (),
    "openrail": ("openrail",),
}
# Names that the Hub takes (huggingface.co/docs/hub/repositories-licenses); any other one goes there as "other".
ON_THE_HUB = set(
    """
    apache-2.0 mit openrail openrail++ bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc
    cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl
    gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl osl-3.0 postgresql ofl-1.1 ncsa
    unlicense zlib pddl lgpl-lr deepfloyd-if-license
    """.split()
)
# What authors state, as the Hub names it. Audio-MAE's two statements differ: the stricter holds.
STATED = {
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
    "CC BY-NC 4.0": "cc-by-nc-4.0",
    "CC BY-NC 4.0 (README: CC BY 4.0)": "cc-by-nc-4.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
}

UNCLEAR = {
    NOT_KNOWN: "it is not known what {} is under",
    NOT_STATED: "the authors of {} have stated none, which allows nothing",
}


class Data(NamedTuple):
    """What an encoder was pretrained on."""

    name: str  # OWNER/DATASET where it is on the Hub
    licence: str = NOT_STATED


class Terms(NamedTuple):
    """The statements of whoever publishes: name, tag, licence, data and scores."""

    repository: str
    tag: str = "v1"
    licence: str | None = None  # of the weights, as the Hub names it, or NAME=LINK; None keeps what they came under
    data: Sequence[Data] = ()
    scores: Sequence[str] = ()  # as `read_scores` takes them
    relicence: bool = False  # the owners of the weights that these began with allow it


def parse_data(text: str) -> Data:
    """Read NAME or NAME=LICENCE."""
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


class Licence(NamedTuple):
    """Of the weights, as the Hub names it; with a link where it has no name for it."""

    name: str
    link: str | None = None

    @property
    def other(self) -> bool:
        """Whether the Hub has no name for it."""
        return self.link is not None or self.name not in ON_THE_HUB

    @property
    def text(self) -> str:
        """As it is given and stated."""
        return f"{self.name}={self.link}" if self.link else self.name


def choose_licence(
    text: str | None, origin: Origin | None = None, relicence: bool = False, added: bool = False
) -> Licence:
    """Choose the licence that was given, or else the weights' own; raise where their owners do not allow it.

    origin: whose weights these are, or began as. relicence: their owners let these weights go on under another licence.
    added: whether they go on as a part of something, such as a probe.
    """
    if origin is None:
        return parse_licence(text or "")
    carried = carried_by(origin)
    stated = origin.licence not in UNCLEAR
    chosen = as_stated(carried) if stated and text in (None, "", carried) else parse_licence(text or "")
    if not relicence:
        check_allowed(chosen, origin, added)
    return chosen


def check_allowed(chosen: Licence, origin: Origin, added: bool = False) -> None:
    """Raise where weights may not go on under a licence unless their owners allow it."""
    carried = carried_by(origin)
    if may_follow(chosen.text, carried, origin.trained) or (added and may_follow(chosen.text, carried, True)):
        return
    if reason := UNCLEAR.get(origin.licence):
        reason, remedy = reason.format(origin.model), "say"
    else:
        reason, remedy = f"{origin.model} is under {origin.licence}", "leave the licence out to keep that, or say"
    raise OscineError(f"licence {chosen.text!r}, but {reason}; {remedy} that its owners allow it (relicence)")


def carried_by(origin: Origin) -> str:
    return STATED.get(origin.licence, origin.licence)


def may_follow(licence: str, carried: str, trained: bool) -> bool:
    """Return whether weights under `carried` may go on under a licence; untrained, only under their own."""
    if not trained:
        return licence == carried
    if carried == FREE:
        return True
    if re.search(r"\bnd\b", carried.partition("=")[0]):  # Creative Commons' word for: no derivatives
        return False
    return licence in LICENCES.get(carried, (carried,))


def as_stated(licence: str) -> Licence:
    """Read the licence that a source states, which may be one that nobody should choose anew."""
    name, _, link = licence.partition("=")
    return Licence(name, link or None)


def parse_licence(text: str) -> Licence:
    """Read a licence by its name on the Hub, or any other as NAME=LINK."""
    name, _, link = text.partition("=")
    if re.fullmatch(r"https?://\S+", link) and re.fullmatch(r"[a-z0-9.-]+", name):
        return Licence(name, link)
    if text not in LICENCES:
        raise OscineError(
            f"licence {text or 'not given'}; choose one for the weights: {', '.join(LICENCES)}, or another as NAME=https://..."
        )
    return Licence(text)
