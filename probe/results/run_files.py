"""Name the files in the folder of a probe's run, and replace them. No torch is needed."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

from oscine.models.errors import OscineError
from oscine.models.files import did_you_mean
from oscine.models.replace_outputs import Replaced, check_own, has_fields, is_empty, replacing
from oscine.probe.deploy.probe_json import FACTS, MARK, SCORES

PREDICTIONS, READABLE, REPORT = "predictions.parquet", "predictions.csv", "report.html"
FOLDS_MADE = "folds.csv"
BEGUN = "settings.json"  # in STATES: what a fine-tuning was begun with
PROBE, SEARCH, STATES = "probe", "search", "states"
KIND = b"labels"  # of the metadata of predictions.parquet: one a row, or any number
LOGIT = "logit "  # before a class's name, in its column's
MADE = (PREDICTIONS, READABLE, REPORT, FOLDS_MADE, PROBE)  # once the scores are there
RUN = (SCORES, *MADE)
OWN = re.compile(
    rf"({re.escape(SCORES)}|{re.escape(PREDICTIONS)}|{re.escape(READABLE)}|{re.escape(REPORT)}|{re.escape(FOLDS_MADE)}"
    rf"|{PROBE}/(probe|source)\.json|{PROBE}/probe\.safetensors|{PROBE}/encoder/((config|source)\.json|model\.safetensors)"
    rf"|{SEARCH}/\d+/(trials\.json|lock(\.json)?)|{STATES}/([^/]+\.pt|settings\.json|lock(\.json)?)|(.+/)?\.[^/]+\.\d+\.part)"
)


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise where a run would replace scores without being told to, or anything that no run has written."""
    made = [folder / name for name in MADE]
    scores = folder / SCORES
    found = next((path for path in (scores, *made) if path.exists() and not (path.is_dir() and is_empty(path))), None)
    if found and not is_run(folder):
        raise OscineError(f"{found} is of no run that oscine probe made, and is not replaced; choose another --name")
    if scores.exists() and not overwrite:
        more = ""
        if was_stopped(folder):
            tuned = (folder / STATES / BEGUN).exists()
            more = "; its run was stopped: " + (
                "--resume goes on" if tuned else "with the settings it had, it is finished"
            )
        raise OscineError(f"{scores} exists; --overwrite replaces it, --name X writes others beside it{more}")
    check_own([scores, *made, folder / SEARCH, folder / STATES], folder, OWN, "oscine probe")


def is_run(folder: Path) -> bool:
    """Return whether a folder has the scores of a run, or of one that was killed without them its predictions or probe."""
    scores = folder / SCORES
    if not scores.exists():
        return has_fields(folder / PROBE / FACTS, MARK) or is_predictions(folder / PREDICTIONS)
    return not scores.stat().st_size or has_fields(scores, {"oscine", "settings", "task"})


def was_stopped(folder: Path) -> bool:
    """Return whether a run has scores and no report, the last that it writes: it was stopped or killed between them."""
    return (folder / SCORES).is_file() and not (folder / REPORT).exists()


def is_predictions(path: Path) -> bool:
    """Return whether a file is a table of predictions that a run has written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return False
    return (schema.metadata or {}).keys() >= {KIND} and any(name.startswith(LOGIT) for name in schema.names)


def check_predictions(path: Path) -> None:
    """Raise where there is no file of what a probe said of its rows."""
    if not path.is_file():
        meant = did_you_mean(path.parent, "oscine probe writes them beside a run's scores")
        raise OscineError(f"no predictions {path}; {meant}")


def replacing_run(folder: Path, searched: bool) -> AbstractContextManager[None]:
    """Move what an earlier run has left aside for the block that writes a new one, with all that belongs to it.

    searched: whether the new one has searched; its trials are in the folder already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_replaceable(folder, overwrite=True)  # again: hours have passed
    return replacing(folder, RUN if searched else (*RUN, SEARCH), last=REPORT)


def recover(folder: Path) -> None:
    """Put the run back that a killed call was replacing, which is said; but a new one that has its report stands."""
    Replaced(folder, (*RUN, SEARCH)).recover(stands=(folder / REPORT).exists())
