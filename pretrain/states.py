"""Run states: a run's last two, written whole and sealed with a checksum, so that a torn one is known and passed over."""

from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from oscine.models.errors import OscineError
from oscine.models.files import whole

logger = logging.getLogger(__name__)
# Bytes of SHA-256 behind what torch wrote. torch.load reads past them, and past a flipped byte in the weights, too.
SEAL = sha256().digest_size
CHUNK = 1 << 20


class RunStates(TorchCheckpointIO):
    """Writes a run's state beside the one before it, and reads the newest that is whole.

    A kill or a full disk at any moment leaves at least one whole state; Lightning's own writing does not.
    """

    def __init__(self) -> None:
        self.step: int | None = None  # of the state in its place, if this run has read or written it whole

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path, step = Path(path), checkpoint["global_step"]
        path.parent.mkdir(parents=True, exist_ok=True)
        for part in path.parent.glob(".*.part"):  # what a killed run has left of a state
            part.unlink(missing_ok=True)
        newest = path.with_suffix(".next")
        with whole(newest) as file:
            file.write(write_sealed(checkpoint, file))
        # Neither a torn state nor an earlier writing of the same step pushes out the one before.
        if self.step not in (None, step):
            path.replace(before(path))
        newest.replace(path)
        self.step = step

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        path = Path(path)
        state, found = newest_state(path)
        if found == path:
            self.step = state["global_step"]
        return state


class Sealed:
    """A file to write, and the checksum of what was written: a state of many GB is not held in memory for it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.checksum = file, sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        self.checksum.update(content)
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def write_sealed(checkpoint: dict[str, Any], file: BinaryIO) -> bytes:
    """Write a state and return its seal."""
    sealed = Sealed(file)
    try:
        torch.save(checkpoint, cast(BinaryIO, sealed))
    except RuntimeError:  # what torch makes of a full disk when it closes its file
        if sealed.error:
            raise sealed.error from None
        raise
    return sealed.checksum.digest()


def before(path: Path) -> Path:
    """Where the state before the one in `path` lies."""
    return path.with_suffix(f".before{path.suffix}")


def resumable(path: Path) -> bool:
    """Whether a state was ever written to `path`: a kill between two renamings leaves the one before alone."""
    return path.exists() or before(path).exists()


def kept(state: Path) -> str:
    """What a run that has to stop leaves behind."""
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
        with path.open("rb") as file:
            checksum = sha256()
            left = path.stat().st_size - SEAL
            while left > 0:
                chunk = file.read(min(left, CHUNK))
                checksum.update(chunk)
                left -= len(chunk)
            if checksum.digest() != file.read():
                raise OscineError(f"{path} is torn: cut short or changed since it was written")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OscineError(f"{path} cannot be read: {error.strerror or error}") from None
