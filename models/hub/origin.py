"""Note which weights an encoder has, whose they are or were, and under which licence, so that it goes along."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.encoders.base.provenance import NOT_KNOWN, NOT_STATED, Origin
from oscine.models.errors import OscineError
from oscine.models.hub.download import fetch_if_there
from oscine.models.text.yaml_text import parse_yaml

CARD = "README.md"  # of a repository
# A card begins with its metadata between two lines of dashes.
METADATA = re.compile(r"\s*---\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
PAGES = "https://huggingface.co"  # for people; HF_ENDPOINT may be a mirror with a password in its address
logger = logging.getLogger(__name__)


def note_weights(encoder: Encoder, weights: Origin, name: str | None = None) -> None:
    """Note on an encoder whose weights it was given. name: by which it was loaded, where that is not theirs."""
    encoder.provenance = {
        "model": name or weights.model,
        "repository": weights.repository,
        "revision": weights.revision,
        "sha256": weights.sha256,
    }
    encoder.origin = weights._replace(fingerprint=fingerprint(encoder))


def origin_of(encoder: Encoder) -> Origin | None:
    """Return whose weights an encoder has, or had before they were trained further; None if nobody else's."""
    origin = encoder.origin
    if origin is None or origin.fingerprint is None:
        return origin
    return origin._replace(trained=fingerprint(encoder) != origin.fingerprint)


def refresh_licence(origin: Origin | None) -> Origin | None:
    """Read the licence again that could not be read when the weights were loaded."""
    if origin is None or origin.repository is None or origin.licence != NOT_KNOWN:
        return origin
    return origin._replace(licence=licence_on_the_hub(origin.repository, origin.revision))


def licence_on_the_hub(repository: str, revision: str | None, local_files_only: bool = False) -> str:
    """Read the licence that a repository's card states: a name, or NAME=LINK where the Hub has no name for it."""
    try:
        card = fetch_if_there(repository, CARD, revision, local_files_only=local_files_only)
        stated = card_metadata(card) if card else {}
    except UnicodeDecodeError as error:
        return unknown_licence(repository, f"its {CARD} cannot be read: {error}")
    except OscineError as error:  # such as: no network
        return unknown_licence(repository, str(error))
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
    """Read the metadata at the head of a card; none are {}."""
    found = METADATA.match(card.read_text(encoding="utf-8-sig"))
    return parse_yaml(found[1], f"its {CARD}", "see the repository", may_be_empty=True) if found else {}


def unknown_licence(repository: str, reason: str) -> str:
    logger.warning("the licence of %s is not known (%s)", repository, reason)
    return NOT_KNOWN
