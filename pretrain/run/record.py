"""Write down what made an encoder: the step, settings and weights beside it, the hardware beside the logs.

The record lies beside the encoder, since a run that goes on has new settings long before it has a new encoder.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer

from oscine import __version__
from oscine.models.encoders.base.devices import device_name
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import read_origin
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, write_whole
from oscine.models.hub.encoder_files import SETTINGS, WEIGHTS
from oscine.models.hub.folder import save_pretrained
from oscine.models.json_text import as_record, fits, read_json
from oscine.pretrain.run.files import ENCODER, log_files

RECORD, HARDWARE = "run.json", "machine.json"


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
    """Return the YAML of a run's settings; None where there is none."""
    path = run / SETTINGS
    return path.read_text(encoding="utf-8") if path.exists() else None


def step_of(folder: Path) -> int:
    """Return the step that the run of a saved encoder had reached; -1 where there is no encoder."""
    try:
        return as_record(Record, read_json(folder / RECORD, ""), folder / RECORD, "").step
    except (OSError, OscineError):
        return -1


def read_record(run: Path, folder: Path) -> Record:
    """Read the record of a run's encoder, which must be of these weights and, at its end, of the run as it is now."""
    finish = f"the run in {run} can be resumed (--resume), which writes both anew"
    try:
        record = as_record(Record, read_json(folder / RECORD, finish), folder / RECORD, finish)
    except FileNotFoundError:
        raise OscineError(f"{folder} has no {RECORD}, which says what made it; {finish}") from None
    if record.sha256 != file_hash(folder / WEIGHTS):
        raise OscineError(f"{folder / RECORD} is not of the weights beside it; {finish}")
    if folder.name == ENCODER and record.settings != settings_of(run):
        raise OscineError(
            f"the run in {run} has gone on with other settings since its encoder was written at step {record.step}; "
            "--resume finishes it"
        )
    return record


class HardwareInfo(Callback):
    """Writes the file HARDWARE into the folder of a run's logs when training begins or goes on."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logs = trainer.log_dir  # every process has to ask: they agree on it
        if not trainer.is_global_zero or logs is None:
            return
        facts = {
            "device": device_name(str(pl_module.device)),
            "devices": trainer.world_size,
            "nodes": trainer.num_nodes,
            "precision": str(trainer.precision),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "oscine": __version__,
        }
        folder = Path(logs)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / HARDWARE, (json.dumps(facts, indent=2) + "\n").encode())


def read_hardware(folder: Path) -> dict[str, Any] | None:
    """Read what the newest part of a run with these logs ran on; None where it is not written down."""
    written = log_files(folder, HARDWARE)
    if not written:
        return None
    facts = read_json(written[-1], "delete it")
    kinds = {"device": str, "devices": int, "precision": str}
    if not isinstance(facts, dict) or not all(fits(facts.get(name), kind) for name, kind in kinds.items()):
        raise OscineError(f"{written[-1]} is not what a run writes; delete it")
    return {name: facts[name] for name in kinds}
