"""The files in a run's folder: their names, the encoder in it, and what a new run may replace. No torch is needed."""

from __future__ import annotations

import re
from pathlib import Path

from oscine.models.encoders.base.provenance import SOURCE
from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import SETTINGS, encoder_folder
from oscine.models.replaced import Replaced, check_own, is_empty
from oscine.models.zoo import LOCAL

LOGS, STATES, ENCODER, ENCODERS, PICTURES = "logs", "states", "encoder", "encoders", "pictures"
STATE = Path(STATES, "last.ckpt")
RUN = (SETTINGS, SOURCE, LOGS, STATES, ENCODER, ENCODERS, PICTURES)
OWN = re.compile(
    rf"(settings\.yaml|source\.json|{LOGS}/version_\d+/[^/]+|{STATES}/last\.[\w.]+|{PICTURES}/[^/]+\.(png|json)"
    rf"|({ENCODER}|{ENCODERS}/(step_\d+|\.step_\d+\.\w+\.part))/((config|source|run)\.json|model\.safetensors)"
    r"|(.+/)?\.[^/]+\.\d+\.part)"
)
WRITER = "a pretraining run"


def step_name(step: int) -> str:
    """What belongs to a step of a run is called, a picture or an encoder; names come in the order of steps."""
    return f"step_{step:07d}"


def before(path: Path) -> Path:
    """Where the state before the one in `path` lies."""
    return path.with_suffix(f".before{path.suffix}")


def resumable(path: Path) -> bool:
    """Whether a state was ever written to `path`: a kill between two renamings leaves the one before alone."""
    return path.exists() or before(path).exists()


def parts_of_logs(logs: Path, name: str) -> list[Path]:
    """The files of a name that a run has logged, one for each time that it was begun or resumed, in that order."""
    numbered = {
        int(path.parent.name.removeprefix("version_")): path
        for path in logs.glob(f"version_*/{name}")
        if re.fullmatch(r"version_\d{1,9}", path.parent.name)
    }
    return [numbered[number] for number in sorted(numbered)]


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


def is_run(folder: Path) -> bool:
    """Return whether a folder holds the settings that a pretraining run has written down."""
    try:
        settings = (folder / SETTINGS).read_bytes()
    except OSError:
        return False
    return all(re.search(rb"(?m)^%s:" % key, settings) for key in (b"method", b"encoder", b"recipe"))


def check_replaceable(folder: Path) -> None:
    """Raise unless a folder is absent, empty, or holds a pretraining run and nothing else."""
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise OscineError(
            f"{folder} is no folder, or a link to none, and runs alone are replaced; choose another --name"
        )
    if not folder.exists() or is_empty(folder):
        return
    if not is_run(folder):
        raise OscineError(f"{folder} holds no {SETTINGS} of a run, and is not replaced; choose another --name")
    check_own(folder.iterdir(), folder, OWN, WRITER)


def replaced_run(folder: Path) -> Replaced:
    """Return what holds the earlier run of a folder while a new one replaces it."""
    return Replaced(folder, RUN)


def stands(folder: Path) -> bool:
    """Return whether a run has something that an earlier one may go for: a state or an encoder."""
    return resumable(folder / STATE) or (folder / ENCODER).is_dir()
