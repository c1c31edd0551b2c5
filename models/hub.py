"""An encoder as a folder: model.safetensors with the published names, config.json with everything else it needs."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from safetensors.torch import save

from oscine import __version__
from oscine.models.bat import BAT
from oscine.models.bird_mae import BirdMAE
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.weights import load_strictly, read_safetensors

ENCODERS: dict[str, type[Encoder]] = {"BAT": BAT, "BirdMAE": BirdMAE}
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_pretrained(encoder: Encoder, folder: str | Path) -> Path:
    """Write an encoder's weights and configuration into a folder, which `create_model("local-dir:FOLDER")` loads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architecture": type(encoder).__name__, "oscine_version": __version__, "config": encoder.config}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    write_whole(folder / WEIGHTS, save(state, metadata={"format": "pt"}))
    write_whole(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    return folder


def load_pretrained(folder: str | Path) -> Encoder:
    """The encoder that `save_pretrained` wrote, strictly: a missing, extra or misshapen tensor is an error."""
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise OscineError(f"no encoder in {folder}: expected a folder with {CONFIG} and {WEIGHTS}") from None
    except json.JSONDecodeError as error:
        raise OscineError(f"{folder / CONFIG} is no JSON ({error}); save the encoder again") from None
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise OscineError(f"{folder / CONFIG} has no 'architecture' with its 'config'; save the encoder again")
    name = config.get("architecture")
    if name not in ENCODERS:
        raise OscineError(f"{folder / CONFIG} names the architecture {name!r}; known are {', '.join(ENCODERS)}")
    encoder = build(ENCODERS[name], config["config"])
    load_strictly(encoder, read_safetensors(folder / WEIGHTS), folder / WEIGHTS)
    return encoder.eval()


def build(architecture: type[Encoder], config: dict[str, object]) -> Encoder:
    """An encoder with random weights from its constructor's numbers."""
    known = inspect.signature(architecture).parameters
    unknown = sorted(config.keys() - known.keys())
    if unknown:
        raise OscineError(f"{architecture.__name__} has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    return architecture(**config)  # type: ignore[arg-type]
