"""Read and write source.json: whose weights lie beside it, or whose they were before they were trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from oscine.models.json_text import as_record, read_json

SOURCE = "source.json"
NOT_STATED = "not stated"
NOT_KNOWN = "not known"  # it may be stated, but could not be read


class Origin(NamedTuple):
    """The origin of an encoder's weights, or of those it began with: the one record that whoever loads them makes."""

    model: str
    file: str
    sha256: str
    licence: str  # as its authors state it
    repository: str | None = None
    revision: str | None = None
    trained: bool = False  # further, with these as a beginning
    fingerprint: str | None = None  # of their tensors, by which trained ones are told from them

    def as_json(self) -> bytes:
        """Return the content of source.json."""
        return (json.dumps(self._asdict(), indent=2) + "\n").encode()


def read_origin(folder: Path) -> Origin | None:
    """Read source.json beside an encoder's weights or in a run's folder; None where there is none."""
    path = folder / SOURCE
    try:
        content = read_json(path, "convert or train again")
    except FileNotFoundError:
        return None
    return as_record(Origin, content, path, "convert or train again")
