"""What made a run's encoder lies beside it: a run that goes on has new settings long before it has a new encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import read_origin
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, write_whole
from oscine.models.hub.encoder_files import SETTINGS, WEIGHTS
from oscine.models.hub.folder import save_pretrained
from oscine.models.json_text import as_record, read_json

RECORD = "run.json"


class Record(NamedTuple):
    """How an encoder came to be."""

    step: int  # that its run had reached
    sha256: str  # of the weights, so that they cannot be taken for others
    settings: str | None  # the run's YAML as it was then


def save_with_record(encoder: Encoder, run: Path, folder: Path, step: int) -> None:
    """Save the encoder of a run into a folder, with its record, and whose weights the run began with."""
    encoder.origin = read_origin(run)
    save_pretrained(encoder, folder)
    record = Record(step, file_hash(folder / WEIGHTS), settings_of(run))
    write_whole(folder / RECORD, (json.dumps(record._asdict(), indent=2) + "\n").encode())


def settings_of(run: Path) -> str | None:
    path = run / SETTINGS
    return path.read_text(encoding="utf-8") if path.exists() else None


def step_of(folder: Path) -> int:
    """That the run of a saved encoder had reached; -1 where there is none."""
    try:
        return as_record(Record, read_json(folder / RECORD, ""), folder / RECORD, "").step
    except (OSError, OscineError):
        return -1


def read_record(run: Path, folder: Path) -> Record:
    """The record of a run's encoder, which must be of these weights and of the run as it is now."""
    finish = f"the run in {run} can be resumed (--resume), which writes both anew"
    try:
        record = as_record(Record, read_json(folder / RECORD, finish), folder / RECORD, finish)
    except FileNotFoundError:
        raise OscineError(f"{folder} has no {RECORD}, which says what made it; {finish}") from None
    if record.sha256 != file_hash(folder / WEIGHTS):
        raise OscineError(f"{folder / RECORD} is not of the weights beside it; {finish}")
    if record.settings != settings_of(run):
        raise OscineError(
            f"the run in {run} has gone on with other settings since its encoder was written at step {record.step}; "
            "--resume finishes it"
        )
    return record
