"""What a run ran on, written down beside its logs: a published encoder's card says it."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from oscine import __version__
from oscine.models.encoders.base.devices import device_name
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import fits, read_json
from oscine.pretrain.run.files import parts_of_logs

MACHINE = "machine.json"


class Machine(Callback):
    """Writes `machine.json` into the folder of a run's logs when training begins or goes on."""

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
        write_whole(folder / MACHINE, (json.dumps(facts, indent=2) + "\n").encode())


def read_machine(folder: Path) -> dict[str, Any] | None:
    """What the newest part of a run with these logs ran on; None where it is not written down."""
    written = parts_of_logs(folder, MACHINE)
    if not written:
        return None
    facts = read_json(written[-1], "delete it")
    kinds = {"device": str, "devices": int, "precision": str}
    if not isinstance(facts, dict) or not all(fits(facts.get(name), kind) for name, kind in kinds.items()):
        raise OscineError(f"{written[-1]} is not what a run writes; delete it")
    return {name: facts[name] for name in kinds}
