"""The files in a run's folder: what they are called, and which encoder is there to be published. No torch is needed."""

from __future__ import annotations

from pathlib import Path

from oscine.models.errors import OscineError
from oscine.models.folder import encoder_folder
from oscine.models.zoo import LOCAL

LOGS, STATES, ENCODER = "logs", "states", "encoder"
STATE = Path(STATES, "last.ckpt")


def before(path: Path) -> Path:
    """Where the state before the one in `path` lies."""
    return path.with_suffix(f".before{path.suffix}")


def resumable(path: Path) -> bool:
    """Whether a state was ever written to `path`: a kill between two renamings leaves the one before alone."""
    return path.exists() or before(path).exists()


def find_encoder(path: Path) -> tuple[Path | None, Path]:
    """The run's folder, if there is one, and the encoder's."""
    path = Path(str(path).removeprefix(LOCAL))
    if path.name == ENCODER and (path.parent / LOGS).is_dir():
        path = path.parent
    if not (path / LOGS).is_dir():
        return None, encoder_folder(path)
    if not (path / ENCODER).is_dir():
        hint = "--resume finishes it" if resumable(path / STATE) else "it has kept nothing"
        raise OscineError(f"the run in {path} has not ended and has no {ENCODER} yet; {hint}")
    return path, path / ENCODER
