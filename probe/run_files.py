"""The files in the folder of a probe's run: their names, and what a new run may replace. No torch is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oscine.models.errors import OscineError
from oscine.models.json_text import read_json
from oscine.models.replaced import begins_as_ours, check_own, moved_aside
from oscine.probe.saved_facts import FACTS

SCORES, PREDICTIONS, READABLE, REPORT = "scores.json", "predictions.parquet", "predictions.csv", "report.html"
FOLDS_MADE = "folds.csv"
PROBE, SEARCH, STATES = "probe", "search", "states"
MADE = (PREDICTIONS, READABLE, REPORT, FOLDS_MADE, PROBE)  # once the scores are there
OWN = re.compile(
    rf"({re.escape(SCORES)}|{re.escape(PREDICTIONS)}|{re.escape(READABLE)}|{re.escape(REPORT)}|{re.escape(FOLDS_MADE)}"
    rf"|{PROBE}/(probe|source)\.json|{PROBE}/probe\.safetensors|{PROBE}/encoder/((config|source)\.json|model\.safetensors)"
    rf"|{SEARCH}/\d+/(trials\.json|lock(\.json)?)|{STATES}/([^/]+\.pt|settings\.json|lock(\.json)?)|(.+/)?\.[^/]+\.\d+\.part)"
)


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise where a run would replace scores without being told to, or anything that no run has written."""
    made = [folder / name for name in MADE]
    scores = folder / SCORES
    found = next(filter(Path.exists, [scores, *made]), None)
    if found and not is_run(folder):
        raise OscineError(f"{found} is of no run that oscine probe made, and is not replaced; choose another --name")
    if scores.exists() and not overwrite:
        raise OscineError(f"{scores} exists; --overwrite replaces it, --name X writes others beside it")
    check_own([scores, *made, folder / SEARCH, folder / STATES], folder, OWN, "oscine probe")


def is_run(folder: Path) -> bool:
    """Return whether a folder has the scores of a run, or of one that was killed without them its predictions or probe."""
    scores, asked = folder / SCORES, {"oscine", "settings", "task"}
    marks = {folder / PREDICTIONS: b"logit ", folder / PROBE / FACTS: b"oscine_version"}
    try:
        if not scores.exists():
            return any(path.exists() and begins_as_ours(path, mark) for path, mark in marks.items())
        content = read_json(scores, "") if scores.stat().st_size else asked
        return isinstance(content, (dict, set)) and asked <= set(content)
    except (OSError, OscineError):
        return False


@contextmanager
def replacing(folder: Path, searched: bool) -> Iterator[None]:
    """Move what an earlier run has left aside for the block that writes new scores in place of the old ones."""
    folder.mkdir(parents=True, exist_ok=True)
    check_replaceable(folder, overwrite=True)  # again: hours have passed
    left = MADE if searched else (*MADE, SEARCH)
    with moved_aside([folder / name for name in left], folder / ".replaced"):
        yield
