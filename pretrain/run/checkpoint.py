"""Write and read what a run keeps: its last two states, and its encoders over time and at its end."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import read_origin
from oscine.models.errors import OscineError
from oscine.models.files import put
from oscine.models.hub.checksummed import load_checksummed, save_checksummed
from oscine.models.hub.folder import from_config, load_pretrained, with_state
from oscine.models.hub.model_name import ModelName
from oscine.models.replace_outputs import remove
from oscine.models.zoo import create_model
from oscine.pretrain.distributed import rank_zero_then_broadcast
from oscine.pretrain.run.files import ENCODER, ENCODERS, STATE, before, resumable, step_name
from oscine.pretrain.run.record import save_with_record, step_of

logger = logging.getLogger(__name__)


class RunStates(TorchCheckpointIO):
    """Writes a run's state beside the one before it, and reads the newest that is whole.

    A kill or a full disk at any moment leaves at least one whole state; Lightning's own writing does not.
    """

    def __init__(self) -> None:
        self.step: int | None = None  # of the state in its place, if this run has read or written it whole

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path, step = Path(path), checkpoint["global_step"]
        path.parent.mkdir(parents=True, exist_ok=True)
        for part in path.parent.glob(f".{path.stem}.*.part"):  # what a killed run has left of a state
            part.unlink(missing_ok=True)
        newest = path.with_suffix(".next")
        save_checksummed(newest, checkpoint)
        # Neither a torn state nor an earlier writing of the same step pushes out the one before.
        if self.step not in (None, step):
            put(path, before(path))
        put(newest, path)
        self.step = step

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        path = Path(path)
        state, found = newest_state(path)
        if found == path:
            self.step = state["global_step"]
        return state


def describe_state(state: Path) -> str:
    """Say whether a run that has to stop leaves a state behind."""
    return f"the state kept in {state} is from before" if resumable(state) else "no state was kept yet"


def newest_state(path: Path) -> tuple[dict[str, Any], Path]:
    """Read the state in `path`, or the one before where that is torn; return also the file it came from."""
    try:
        return read_state(path), path
    except OscineError as error:
        if not before(path).exists():
            raise
        state = read_state(before(path))
        logger.warning("%s; taking the state before, of step %d", error, state["global_step"])
        return state, before(path)


def read_state(path: Path) -> dict[str, Any]:
    """Read a run state, its tensors on the CPU; raise an error where it is not what was written."""
    try:
        state = load_checksummed(path)
    except FileNotFoundError as error:
        raise OscineError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(state, dict) or not isinstance(state.get("global_step"), int):
        raise OscineError(f"{path} is not the state of a pretraining run; --overwrite begins anew")
    return state


def save_encoder(run: Path, step: int) -> None:
    """Save the encoder of a run at its end, from the state: it is whole also where devices hold parts of the weights."""
    save_with_record(encoder_of_state(*newest_state(run / STATE)), run, run / ENCODER, step)


def keep_encoder(trainer: Trainer, run: Path) -> None:
    """Save the encoder as it is after this step in a folder of its own, whole or not at all.

    Every process of the run calls it, since each may hold but a part of the weights; the first writes. A step that a resumed
    run does again writes the same again.
    """
    checkpoint = {"state_dict": trainer.strategy.lightning_module_state_dict()}
    trainer.lightning_module.on_save_checkpoint(checkpoint)
    step = trainer.global_step
    folder = run / ENCODERS / step_name(step)

    def save() -> None:
        with torch.random.fork_rng(devices=[]):  # it is built with random weights first; the run's numbers stay its own
            encoder = encoder_of_state(checkpoint, folder)
        write_folder(folder, lambda part: save_with_record(encoder, run, part, step))

    rank_zero_then_broadcast(trainer, save)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside its place and move it there at the end; what a killed call has left of another one goes."""
    for left in folder.parent.glob(".step_*.part"):
        remove(left)
    part, old = (folder.with_name(f".{folder.name}.{kind}.part") for kind in (os.getpid(), "old"))
    try:
        write(part)
        if folder.exists():
            put(folder, old)  # no folder takes another one's place by itself
        put(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # a full disk has no room for halves
        raise
    shutil.rmtree(old, ignore_errors=True)


def encoder_with_weights(source: str) -> Encoder:
    """Load an encoder to start from: of a run's folder, an encoder's (also local-dir:), or a name with published weights.

    Of a run that has not ended it is the one in its newest state.
    """
    folder = ModelName.parse(source).path
    if resumable(folder / STATE):
        state, path = newest_state(folder / STATE)
        if state["global_step"] > step_of(folder / ENCODER):  # it has gone on since
            encoder = encoder_of_state(state, path)
            encoder.origin = read_origin(folder)
            return encoder
    if (folder / ENCODER).is_dir():
        return load_pretrained(folder / ENCODER)
    return load_pretrained(folder) if folder.is_dir() else create_model(source, pretrained=True)


def encoder_of_state(state: dict[str, Any], path: Path) -> Encoder:
    """Build the encoder in a run's state, which was read from `path`."""
    weights = state.get("state_dict")
    named = weights.items() if isinstance(weights, dict) else ()
    own = {str(name).removeprefix("encoder."): it for name, it in named if str(name).startswith("encoder.")}
    if not own or not all(isinstance(tensor, Tensor) for tensor in own.values()):
        raise OscineError(f"{path} holds no encoder, as the state of a pretraining run does; --overwrite begins anew")
    try:
        return with_state(partial(from_config, state.get("encoder"), path), lambda: own, path)
    except OscineError as error:
        raise OscineError(f"{path}: {str(error).removeprefix(f'{path} ')}") from None
