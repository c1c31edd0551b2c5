"""Whose weights an encoder has, or began with: where they came from and under which licence, so that both go along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import metadata_load
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.fetch import download
from oscine.models.hub import WEIGHTS
from oscine.models.zoo import LOCAL, find_published

SOURCE = "source.json"
NOT_STATED = "not stated"
NOT_KNOWN = "not known"  # it may be stated, but could not be read


class Source(NamedTuple):
    """The weights that an encoder was converted from, or began with."""

    model: str
    file: str
    sha256: str
    licence: str  # as its authors state it
    repository: str | None = None
    revision: str | None = None
    trained: bool = False  # further, with these as a beginning

    def as_json(self) -> bytes:
        """As it lies beside the weights."""
        return (json.dumps(self._asdict(), indent=2) + "\n").encode()


def read_source(folder: Path) -> Source | None:
    """What lies beside an encoder's weights, or in a run's folder, if anything does."""
    path = folder / SOURCE
    try:
        return Source(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OscineError(f"{path} cannot be read ({error.strerror}); whose weights these are stands there") from None
    except (ValueError, TypeError) as error:
        raise OscineError(f"{path} is not what oscine writes ({error}); convert or train again") from None


def source_of(encoder: Encoder) -> Source | None:
    """Whose weights those of a loaded encoder are, or were before they were trained further; None if nobody else's."""
    known = encoder.provenance or {}
    model, sha256 = str(known.get("model")), str(known.get("sha256"))
    repository, revision = known.get("repository"), known.get("revision")
    row = find_published(model)
    if row and row.name == model and sha256 != "random":
        return Source(model, row.file, sha256, row.licence, repository, revision, trained=True)
    if repository:
        licence = licence_on_the_hub(repository, revision)
        return Source(model, WEIGHTS, sha256, licence, repository, revision, trained=True)
    found = read_source(Path(model.removeprefix(LOCAL))) if model.startswith(LOCAL) else None
    return found._replace(trained=True) if found else None


def licence_on_the_hub(repository: str, revision: str | None) -> str:
    """What the card of a repository states: a name, or NAME=LINK where the Hub has no name for it."""
    try:
        stated = metadata_load(download(repository, "README.md", revision)) or {}
    except OscineError as error:
        missing = isinstance(error.__cause__, EntryNotFoundError)
        return NOT_STATED if missing and not isinstance(error.__cause__, LocalEntryNotFoundError) else NOT_KNOWN
    except Exception:  # whatever a parser of YAML, which this room does not know, finds wrong with a stranger's file
        return NOT_KNOWN
    licence = stated.get("license", NOT_STATED)
    if licence == "other":
        return f"{stated.get('license_name')}={stated.get('license_link')}"
    return licence if isinstance(licence, str) else NOT_KNOWN
