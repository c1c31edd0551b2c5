"""Run states: a run's last two, written whole and sealed with a checksum, so that a torn one is known and passed over."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins import TorchCheckpointIO

from oscine.models.checksummed import read_sealed, write_sealed
from oscine.models.errors import OscineError
from oscine.models.files import put
from oscine.pretrain.run.files import before, resumable

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
        write_sealed(newest, checkpoint)
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
    """The state in `path`, or the one before where that is torn, and which of the two files it came from."""
    try:
        return read_state(path), path
    except OscineError as error:
        if not before(path).exists():
            raise
        state = read_state(before(path))
        logger.warning("%s; taking the state before, of step %d", error, state["global_step"])
        return state, before(path)


def read_state(path: Path) -> dict[str, Any]:
    """A run state, its tensors on the CPU; an error where it is not what was written."""
    try:
        state = read_sealed(path)
    except FileNotFoundError as error:
        raise OscineError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(state, dict) or not isinstance(state.get("global_step"), int):
        raise OscineError(f"{path} is not the state of a pretraining run; --overwrite begins anew")
    return state
