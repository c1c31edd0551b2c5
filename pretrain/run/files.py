"""Name the files in a run's folder, find its encoder, say what a new run may replace. No torch is needed."""

from __future__ import annotations

import re
from pathlib import Path

from oscine.models.encoders.base.provenance import SOURCE
from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import INSIDE as ENCODER
from oscine.models.hub.encoder_files import SETTINGS, encoder_folder
from oscine.models.hub.model_name import ModelName
from oscine.models.replace_outputs import Replaced, check_own, is_empty

LOGS, STATES, ENCODERS, PICTURES = "logs", "states", "encoders", "pictures"
STATE = Path(STATES, "last.ckpt")
RUN = (SETTINGS, SOURCE, LOGS, STATES, ENCODER, ENCODERS, PICTURES)
OWN = re.compile(
    rf"(settings\.yaml|source\.json|{LOGS}/version_\d+/[^/]+|{STATES}/last\.[\w.]+|{PICTURES}/[^/]+\.(png|json)"
    rf"|({ENCODER}|{ENCODERS}/(step_\d+|\.step_\d+\.\w+\.part))/((config|source|run)\.json|model\.safetensors)"
    r"|(.+/)?\.[^/]+\.\d+\.part)"
)
WRITER = "a pretraining run"


def step_name(step: int) -> str:
    """Name a picture or an encoder of a run by its step; names sort in the order of steps."""
    return f"step_{step:07d}"


def before(path: Path) -> Path:
    """Return where the state before the one in `path` lies."""
    return path.with_suffix(f".before{path.suffix}")


def resumable(path: Path) -> bool:
    """Return whether a state was ever written to `path`: a kill between two renamings leaves the one before alone."""
    return path.exists() or before(path).exists()


def log_files(logs: Path, name: str) -> list[Path]:
    """List the files of a name that a run has logged, one for each time that it was begun or resumed, in that order."""
    numbered = {
        int(path.parent.name.removeprefix("version_")): path
        for path in logs.glob(f"version_*/{name}")
        if re.fullmatch(r"version_\d{1,9}", path.parent.name)
    }
    return [numbered[number] for number in sorted(numbered)]


def find_encoder(path: Path) -> tuple[Path | None, Path]:
    """Return the folder of the run, if there is one, and that of the encoder: the run's last, or one it left on the way."""
    path = ModelName.parse(path).path
    places = [path]  # a run may have any name, also encoder
    if path.name == ENCODER:
        places.append(path.parent)
    elif path.parent.name == ENCODERS:
        places.append(path.parent.parent)
    run = next((place for place in places if (place / LOGS).is_dir()), None)
    if run is None:
        return None, encoder_folder(path)
    folder = run / ENCODER if path == run else path
    if folder.name == ENCODER and not folder.is_dir():
        hint = "--resume finishes it" if resumable(run / STATE) else "it has kept nothing"
        raise OscineError(f"the run in {run} has not ended and has no {ENCODER} yet; {hint}")
    return run, folder


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


def has_state_or_encoder(folder: Path) -> bool:
    """Return whether a run has kept a state or an encoder, for which an earlier run may go."""
    return resumable(folder / STATE) or (folder / ENCODER).is_dir()
