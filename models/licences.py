"""Licences of weights: the Hub's names for them, and which may follow which when weights are trained further."""

from __future__ import annotations

import re
from typing import NamedTuple

from oscine.models.errors import OscineError
from oscine.models.origin import NOT_KNOWN, NOT_STATED, Source

# What each asks of those who hand the weights on: to name whose they are, to keep the licence, to earn nothing with them, to
# change nothing, to keep to allowed uses. The names are the Hub's.
LICENCES: dict[str, set[str]] = {
    "apache-2.0": {"name"}, "mit": {"name"}, "bsd-3-clause": {"name"}, "cc0-1.0": set(), "cc-by-4.0": {"name"},
    "cc-by-sa-4.0": {"name", "keep"}, "cc-by-nc-4.0": {"name", "earn nothing"},
    "cc-by-nc-sa-4.0": {"name", "earn nothing", "keep"}, "cc-by-nc-nd-4.0": {"name", "earn nothing", "change nothing"},
    "openrail": {"name", "keep to uses"},
}  # fmt: skip
# What authors state, as the Hub names it. Audio-MAE's two statements differ: the stricter holds.
STATED = {"MIT": "mit", "Apache-2.0": "apache-2.0", "CC BY-NC 4.0 (README: CC BY 4.0)": "cc-by-nc-4.0"}


class Licence(NamedTuple):
    """Of the weights, as the Hub names it; with a link where it has no name for it."""

    name: str
    link: str | None = None


def choose_licence(text: str | None, source: Source | None = None, relicence: bool = False) -> Licence:
    """The licence that was given, or the one that came with the weights; one that asks for less needs a word.

    source: whose weights these are, or began as. relicence: their owners let these weights go on under another licence.
    """
    if source is None:
        return parse_licence(text or "")
    carried = STATED.get(source.licence, source.licence)
    unclear = {
        NOT_KNOWN: f"nobody could be asked what {source.model} is under",
        NOT_STATED: f"the authors of {source.model} have stated none, which allows nothing",
    }
    if source.licence in unclear:
        chosen, reason, remedy = parse_licence(text or ""), unclear[source.licence], "say"
    else:
        chosen, reason = parse_licence(text or carried), f"{source.model} is under {source.licence}"
        remedy = "leave the licence out to keep that, or say"
    if not (relicence or may_follow(text or carried, carried, source.trained)):
        raise OscineError(
            f"licence {text or carried!r}, but {reason}; {remedy} that its owners allow it (--relicence, relicence=True)"
        )
    return chosen


def may_follow(licence: str, carried: str, trained: bool) -> bool:
    """Whether weights under a licence may go on under another: as they are, only under theirs; trained further, under
    one that asks for no less."""
    before = LICENCES.get(carried)
    if not trained or before is None or "keep" in before:
        return licence == carried
    return "change nothing" not in before and before <= LICENCES.get(licence, set())


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
