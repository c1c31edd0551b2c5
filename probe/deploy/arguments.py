"""Refuse arguments of predictions that are wrong whatever a probe answers, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oscine.models.embed.table import KEY_COLUMNS
from oscine.models.embed.table_metadata import METADATA
from oscine.models.errors import OscineError
from oscine.models.replace_outputs import check_ours, is_empty

RAVEN = ".txt"
THRESHOLD = 0.5  # where a probe brings none
RESERVED = {*KEY_COLUMNS, METADATA.decode()}  # what a table has beside the classes


def check_detections(out: str | Path, overwrite: bool) -> Path:
    """Return where detections can be written; nothing but an earlier selection table is ever replaced."""
    out = Path(out)
    if out.suffix not in (RAVEN, ""):
        raise OscineError(f"detections {out}: expected FILE{RAVEN} for Raven, or a new folder for Audacity's labels")
    if not out.parent.is_dir():
        raise OscineError(f"no folder {out.parent} to write {out.name} to; make it first")
    if out.suffix == RAVEN and out.is_file() and overwrite:
        from oscine.probe.tasks.selection_tables import is_raven_of_ours  # brings pandas

        check_ours(out, is_raven_of_ours)
        return out
    if out.exists() and not (out.suffix == "" and out.is_dir() and is_empty(out)):
        instead = (
            "replace it (--overwrite, overwrite=True)" if out.suffix == RAVEN and out.is_file() else "move it away"
        )
        raise OscineError(f"{out} exists already; choose another name, or {instead}")
    return out


def check_threshold(threshold: float | None) -> None:
    """Raise where a threshold is no probability that an answer can reach, and miss."""
    if threshold is not None and not 0 < threshold <= 1:
        raise OscineError(f"threshold is {threshold:g}, expected a probability above 0 and up to 1")


def check_class_columns(classes: Sequence[str]) -> None:
    """Raise where a class is called as a column that every table has."""
    taken = sorted(RESERVED & set(classes))
    if taken:
        raise OscineError(f"a class is called {taken[0]}, as a column of every table is; give it another name")
