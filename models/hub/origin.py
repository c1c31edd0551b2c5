"""Whose weights an encoder has, or began with: where they came from and under which licence, so that both go along."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import yaml

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import NOT_KNOWN, NOT_STATED, Origin
from oscine.models.encoders.base.state import fingerprint
from oscine.models.errors import OscineError
from oscine.models.hub.download import fetch_if_there

CARD = "README.md"  # of a repository
# A card begins with its metadata between two lines of dashes.
METADATA = re.compile(r"\s*---\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
# How YAML names a value again; cards of models do not. With some PyYAMLs, 30 lines of it fill the memory.
ALIAS = re.compile(r"(?:^|[\s\[{,])\*\w", re.MULTILINE)
MOST_ALIASES = 10
PAGES = "https://huggingface.co"  # for people; HF_ENDPOINT may be a mirror with a password in its address
logger = logging.getLogger(__name__)


def set_origin(encoder: Encoder, model: str, file: str, licence: str) -> None:
    """Note on an encoder whose weights it has just been given; its provenance knows the rest."""
    known = encoder.provenance or {}
    encoder.origin = Origin(
        model, file, str(known["sha256"]), licence, known["repository"], known["revision"], False, fingerprint(encoder)
    )


def origin_of(encoder: Encoder) -> Origin | None:
    """Whose weights those of an encoder are, or were before they were trained further; None if nobody else's."""
    origin = encoder.origin
    if origin is None or origin.fingerprint is None:
        return origin
    return origin._replace(trained=fingerprint(encoder) != origin.fingerprint)


def refresh_licence(origin: Origin | None) -> Origin | None:
    """With the licence that could not be read when the weights were loaded, if it can be now."""
    if origin is None or origin.repository is None or origin.licence != NOT_KNOWN:
        return origin
    return origin._replace(licence=licence_on_the_hub(origin.repository, origin.revision))


def licence_on_the_hub(repository: str, revision: str | None, local_files_only: bool = False) -> str:
    """What the card of a repository states: a name, or NAME=LINK where the Hub has no name for it."""
    try:
        card = fetch_if_there(repository, CARD, revision, local_files_only)
        stated = card_metadata(card) if card else {}
    except OscineError as error:  # such as: no network
        return unknown_licence(repository, str(error))
    except ValueError as error:
        return unknown_licence(repository, f"its {CARD} cannot be read: {error}")
    licence = stated.get("license") or NOT_STATED
    if licence == "other":
        name, link = str(stated.get("license_name") or licence), str(stated.get("license_link") or "")
        if link and not re.match("https?://", link):  # a file of that repository
            link = f"{PAGES}/{repository}/blob/{revision or 'main'}/{link}"
        return f"{name}={link}" if link else name
    if licence == "unknown":  # the Hub's word for it
        return NOT_STATED
    return licence if isinstance(licence, str) else unknown_licence(repository, f"its {CARD} says {licence!r}")


def card_metadata(card: Path) -> dict[str, Any]:
    """Return what a card says in YAML; a ValueError where it is none."""
    found = METADATA.match(card.read_text(encoding="utf-8-sig"))
    block = found[1] if found else ""
    if len(ALIAS.findall(block)) > MOST_ALIASES:
        raise ValueError(f"its YAML names more than {MOST_ALIASES} values again")
    try:
        stated = yaml.safe_load(block) or {}
    except (RecursionError, yaml.YAMLError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(stated, dict):
        raise ValueError(f"its YAML is {str(stated)[:80]!r}, expected names and values")
    return stated


def unknown_licence(repository: str, reason: str) -> str:
    logger.warning("the licence of %s is not known (%s)", repository, reason)
    return NOT_KNOWN
