"""Save and load an encoder as a folder, here or on the Hub: model.safetensors, config.json, source.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import save

from oscine import __version__
from oscine.models import settings_checks
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.encoders.base.provenance import SOURCE, Origin, read_origin
from oscine.models.encoders.names import ENCODERS
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, whole, write_whole
from oscine.models.hub.download import Fetched, fetch, fetch_if_there
from oscine.models.hub.encoder_files import CONFIG, ONNX, WEIGHTS, check_content, check_numbers, read_content
from oscine.models.hub.layouts import State
from oscine.models.hub.model_name import HUB, LOCAL, ONNX_FILE
from oscine.models.hub.origin import licence_on_the_hub, note_weights, origin_of
from oscine.models.hub.weights import check_strictly, load_strictly, load_weights, read_safetensors
from oscine.models.json_text import fits, one_line, read_json, shown
from oscine.models.plugins.classes import module_of, parameters_of
from oscine.models.plugins.load import place_of
from oscine.models.replace_outputs import check_ours, has_fields


def save_pretrained(encoder: Encoder, folder: str | Path) -> Path:
    """Write an encoder's weights and configuration into a folder, which `create_model("local-dir:FOLDER")` loads.

    Weights that are somebody else's, or began as theirs, have source.json beside them: whose, and under which licence.
    """
    folder, origin = Path(folder), origin_of(encoder)
    check_own_encoder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = as_config(encoder)
    config |= {"oscine_version": __version__, "config": config.pop("config")}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    if origin:  # first, so that at no moment weights lie there as if they were nobody's
        write_whole(folder / SOURCE, origin.as_json())
    # config.json comes first: whenever this is killed, it tells that both are oscine's. It never lies beside the weights of
    # before, which go once the disk has had room for the new ones.
    with whole(folder / WEIGHTS) as weights, whole(folder / CONFIG) as about:
        weights.write(save(state, metadata={"format": "pt"}))
        about.write((json.dumps(config, indent=2) + "\n").encode())
        for file in (weights, about):
            file.flush()
            os.fsync(file.fileno())
        (folder / WEIGHTS).unlink(missing_ok=True)
    if not origin:
        (folder / SOURCE).unlink(missing_ok=True)
    return folder


def as_config(encoder: Encoder) -> dict[str, Any]:
    """Return what builds an encoder again: its class, with the module of somebody's own, and its numbers."""
    module = module_of(type(encoder))
    where = {} if module is None else {"module": module}
    return {"architecture": type(encoder).__name__, **where, "config": encoder.config}


def check_own_encoder(folder: Path) -> None:
    """Raise where a folder holds weights or a config.json that are not oscine's; other libraries call theirs the same."""
    check_ours(folder / CONFIG, partial(has_fields, fields=("architecture", "oscine_version", "config")))
    check_ours(folder / WEIGHTS, lambda _: (folder / CONFIG).exists())


def load_pretrained(folder: str | Path) -> Encoder:
    """Load the encoder that `save_pretrained` wrote, strictly: a missing, extra or misshapen tensor is an error."""
    folder = Path(folder)
    encoder, origin = read_weights(folder), read_origin(folder)
    sha256 = file_hash(folder / WEIGHTS)
    encoder.provenance = {"model": f"{LOCAL}{folder}", "repository": None, "revision": None, "sha256": sha256}
    if origin and not origin.trained and origin.fingerprint is None:
        origin = origin._replace(fingerprint=fingerprint(encoder))
    encoder.origin = origin
    return encoder


def read_weights(folder: Path) -> Encoder:
    return with_state(
        partial(read_config, folder / CONFIG), partial(read_safetensors, folder / WEIGHTS), folder / WEIGHTS
    )


def with_state(make: Callable[[], Encoder], read: Callable[[], State], source: Path) -> Encoder:
    """Build an encoder and load tensors that somebody saved; nothing is allocated before their shapes are known to fit."""
    with torch.device("meta"):
        expected = make()
    state = read()
    check_strictly(expected, state, source)
    encoder = make()
    encoder.load_state_dict(state, strict=True)
    return encoder.eval()


def build_from_file(
    architecture: type[Encoder], config: dict[str, Any], path: str | Path, *, prefix: str = ""
) -> Encoder:
    """Build an encoder with the weights of a file, strictly; what an ONNX file says of itself becomes its config."""
    if Path(path).suffix != ONNX:
        encoder = build(architecture, config)
        load_weights(encoder, path, prefix)
        return encoder
    if not architecture.of_a_file:
        raise OscineError(
            f"{path} is an ONNX file, {architecture.__name__} takes tensors; create_model('{ONNX_FILE}{path}') opens it"
        )
    from oscine.models.hub.onnx_files import read_onnx

    content = read_onnx(path, config)
    encoder = build(architecture, content.settings)
    load_strictly(encoder, content.state, path)
    return encoder


def load_from_hub(repository: str, revision: str | None = None, local_files_only: bool = False) -> Encoder:
    """Load the encoder that oscine has published in a repository, strictly. Nothing in it is executed or unpickled."""
    weights, licence = fetch_encoder(repository, revision, local_files_only)
    encoder, model = read_weights(weights.path.parent), f"{HUB}{repository}"
    note_weights(encoder, Origin(model, WEIGHTS, weights.sha256, licence, repository, weights.revision))
    return encoder


def fetch_encoder(repository: str, revision: str | None = None, local_files_only: bool = False) -> tuple[Fetched, str]:
    """Fetch the weights of an encoder that oscine has published, and their licence.

    config.json and the card lie beside them in the cache, of the same commit, so that both are known offline as well.
    """
    config = fetch(repository, CONFIG, revision, local_files_only=local_files_only)
    with torch.device("meta"):
        read_config(config.path)  # what is none of ours is refused before its weights are fetched
    weights = fetch(repository, WEIGHTS, config.revision, local_files_only=local_files_only)
    return weights, licence_on_the_hub(repository, weights.revision, local_files_only)


def published_by_oscine(repository: str, revision: str | None = None, local_files_only: bool = False) -> bool:
    """Return whether a repository has a config.json of oscine's; none, also offline in the cache, is False."""
    try:
        config = fetch_if_there(repository, CONFIG, revision, local_files_only=local_files_only)
    except OscineError as error:
        met = error.__cause__
        if isinstance(met, LocalEntryNotFoundError) and not isinstance(met.__cause__, HfHubHTTPError):
            return False
        raise
    try:
        content = read_json(config, "") if config else None
    except OscineError:
        return False
    return isinstance(content, dict) and "oscine_version" in content


def read_config(path: Path) -> Encoder:
    """Build the encoder that a config.json describes, with random weights."""
    content = read_content(path)
    try:
        return from_config(content, path)
    except OscineError as error:
        raise OscineError(f"{path}: {error}") from None


def from_config(content: Any, source: object = "the configuration") -> Encoder:
    """Build the encoder that `as_config` describes, with random weights. source: the file, to say in a log.

    A class of somebody's own is found where it was registered or allowed; a file never causes an import.
    """
    check_content(content)
    return build(ENCODERS.of_file(content.get("architecture"), content.get("module"), source), content["config"])


def build(architecture: type[Encoder], config: dict[str, Any]) -> Encoder:
    """Build an encoder with random weights from its constructor's numbers; other names and types are errors."""
    name, known = architecture.__name__, parameters_of(architecture)
    settings_checks.check_settings(name, config, known)
    for setting, value in config.items():
        if not fits(value, known[setting].annotation):
            kind = known[setting].annotation
            expected = kind.__name__ if isinstance(kind, type) else kind
            raise OscineError(f"{name} cannot have {setting}={shown(value)}; expected {expected}")
    defaults = {setting: one.default for setting, one in known.items() if one.default is not one.empty}
    check_numbers(name, defaults | config)
    try:
        return architecture(**config)
    except (ArithmeticError, RuntimeError) as error:  # numbers that no tensor can have
        reason = f"{one_line(error)}{place_of(error)}"
        raise OscineError(f"{name} cannot be built from {config} ({reason}); expected sizes above 0") from error
    except Exception as error:
        if module_of(architecture) is None or isinstance(error, OscineError):
            raise
        reason = f"{type(error).__name__}: {one_line(error)}{place_of(error)}"  # as its author has written it
        raise OscineError(f"{name} cannot be built from {config}: {reason}") from error
