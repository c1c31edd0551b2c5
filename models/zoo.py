"""The encoders by name, in timm's grammar: a name for random weights, `local-dir:FOLDER` for a saved encoder."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from oscine.models.bat import BAT
from oscine.models.bird_mae import BirdMAE
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub import build, load_pretrained
from oscine.models.weights import load_weights


class Architecture(NamedTuple):
    """One named size of an encoder, and where it comes from."""

    encoder: type[Encoder]
    config: dict[str, Any]
    source: str


BIRD_MAE_PAPER = "arXiv 2504.12880"
BAT_PAPER = "arXiv 2602.16305"
TINY = "oscine, for tests and two CPU cores"

ARCHITECTURES = {
    "bat_tiny": Architecture(BAT, {"dim": 192, "depth": 6, "heads": 3}, TINY),
    "bat_small": Architecture(BAT, {"dim": 384, "depth": 12, "heads": 6}, BAT_PAPER),
    "bat_base": Architecture(BAT, {"dim": 768, "depth": 12, "heads": 12}, BAT_PAPER),
    "bat_large": Architecture(BAT, {"dim": 1024, "depth": 24, "heads": 16}, BAT_PAPER),
    "bird_mae_tiny": Architecture(BirdMAE, {"dim": 192, "depth": 6, "heads": 3}, TINY),
    "bird_mae_base": Architecture(BirdMAE, {"dim": 768, "depth": 12, "heads": 12}, BIRD_MAE_PAPER),
    "bird_mae_large": Architecture(BirdMAE, {"dim": 1024, "depth": 24, "heads": 16}, BIRD_MAE_PAPER),
    "bird_mae_huge": Architecture(BirdMAE, {"dim": 1280, "depth": 32, "heads": 16}, BIRD_MAE_PAPER),
}
LOCAL = "local-dir:"


def list_models(filter: str = "*", pretrained: bool = False) -> list[str]:
    """Names that match a shell pattern; with `pretrained`, only those whose weights `create_model` can fetch: none yet."""
    return [] if pretrained else [name for name in sorted(ARCHITECTURES) if fnmatch(name, filter)]


def create_model(
    name: str, pretrained: bool = False, checkpoint_path: str | Path | None = None, **overrides: Any
) -> Encoder:
    """An encoder by name, in eval mode.

    name: one of `list_models()`, with random weights; or "local-dir:FOLDER" as written by `save_pretrained`, with its own.
    checkpoint_path: a file to load strictly into a named architecture: published weights or the authors' own checkpoints.
    overrides: settings of the architecture, such as `seconds=5.0` or `drop_path=0.1`; a folder brings its own.
    """
    if name.startswith(LOCAL):
        if overrides or checkpoint_path:
            raise OscineError(f"{name} brings its own settings and weights; overrides go with a name of the zoo")
        return load_pretrained(name.removeprefix(LOCAL))
    if name not in ARCHITECTURES:
        raise OscineError(f"no model {name!r}; {_suggestion(name)}")
    if pretrained:
        raise OscineError(
            f"{name} has no weights to fetch yet; pass checkpoint_path=FILE, or {LOCAL}FOLDER for an encoder you have saved"
        )
    architecture = ARCHITECTURES[name]
    encoder = build(architecture.encoder, architecture.config | overrides)
    if checkpoint_path:
        load_weights(encoder, checkpoint_path)
    return encoder.eval()


def _suggestion(name: str) -> str:
    near = get_close_matches(name, ARCHITECTURES, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(ARCHITECTURES))}, and {LOCAL}FOLDER"
