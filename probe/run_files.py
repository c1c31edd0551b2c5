"""The files in the folder of a probe's run: their names, and what a new run may replace. No torch is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oscine.models.errors import OscineError
from oscine.models.json_text import read_json
from oscine.models.replaced import check_own, moved_aside

SCORES, PREDICTIONS, READABLE, REPORT = "scores.json", "predictions.parquet", "predictions.csv", "report.html"
FOLDS_MADE = "folds.csv"
PROBE, SEARCH, STATES = "probe", "search", "states"
MADE = (PREDICTIONS, READABLE, REPORT, FOLDS_MADE, PROBE)  # once the scores are there
OWN = re.compile(
    rf"({re.escape(SCORES)}|{re.escape(PREDICTIONS)}|{re.escape(READABLE)}|{re.escape(REPORT)}|{re.escape(FOLDS_MADE)}"
    rf"|{PROBE}/(probe|source)\.json|{PROBE}/probe\.safetensors|{PROBE}/encoder/((config|source)\.json|model\.safetensors)"
    rf"|{SEARCH}/\d+/(trials\.json|lock)|{STATES}/([^/]+\.pt|settings\.json|lock)|(.+/)?\.[^/]+\.\d+\.part)"
)


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise where a run would replace scores without being told to, or anything that no run has written."""
    made = [folder / name for name in MADE]
    scores = folder / SCORES
    found = next(filter(Path.exists, made), None)
    if not scores.exists() and found:
        raise OscineError(f"{found} is there without the {SCORES} of a run, and is not replaced; choose another --name")
    if scores.exists() and not is_scores(scores):
        raise OscineError(f"{scores} is not what oscine probe writes, and is not replaced; choose another --name")
    if scores.exists() and not overwrite:
        raise OscineError(f"{scores} exists; --overwrite replaces it, --name X writes others beside it")
    check_own([scores, *made, folder / SEARCH, folder / STATES], folder, OWN, "oscine probe")


def is_scores(path: Path) -> bool:
    """Return whether a file holds the scores of a run."""
    try:
        content = read_json(path, "")
    except (OSError, OscineError):
        return False
    return isinstance(content, dict) and {"oscine", "settings", "task"} <= content.keys()


@contextmanager
def replacing(folder: Path, searched: bool) -> Iterator[None]:
    """Move what an earlier run has left aside for the block that writes new scores in place of the old ones."""
    folder.mkdir(parents=True, exist_ok=True)
    check_replaceable(folder, overwrite=True)  # again: hours have passed
    left = MADE if searched else (*MADE, SEARCH)
    with moved_aside([folder / name for name in left], folder / ".replaced"):
        yield
