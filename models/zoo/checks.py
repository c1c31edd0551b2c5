"""Raise what arguments and files tell to be wrong with an encoder's name, without torch or a network."""

from __future__ import annotations

from pathlib import Path

from oscine.models import checkpoints
from oscine.models.checkpoints import ARCHITECTURES, EMBEDDED, find_published
from oscine.models.compat import check_repository_name
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import ONNX, check_folder, check_weights, encoder_folder
from oscine.models.hub.model_name import HUB, ONNX_FILE, ModelName
from oscine.models.zoo.names import GIVE_FILE, architecture_of, published_row, repository_of

OWN_SETTINGS = "brings its own settings and weights; overrides go with a name of the zoo"


def check_encoder(model: str, checkpoint: Path | None, random_weights: bool) -> None:
    """Raise what `open_encoder` would raise, as far as arguments and files tell it, without torch."""
    if random_weights and (checkpoint or not ModelName.parse(model).without_prefix):
        raise Misuse(
            f"{checkpoint or model} brings its own weights; leave random weights out, or name a model of the zoo alone"
        )
    check_model(model, pretrained=not (checkpoint or random_weights), checkpoint_path=checkpoint)


def check_model(
    name: str,
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    revision: str | None = None,
    *,
    prefix: str = "",
) -> None:
    """Raise what arguments and files tell to be wrong with a call of `create_model`, without torch or a network."""
    called = ModelName.parse(name).at(revision)
    if called.revision and (called.on_disk or not (pretrained or called.on_hub)):
        raise OscineError(
            f"{called.name} has no revision {called.revision!r}: revisions are the Hub's, see {HUB} and pretrained=True"
        )
    if checkpoint_path and not called.without_prefix:
        raise OscineError(f"{name} {OWN_SETTINGS}")
    if called.is_folder:
        check_folder(encoder_folder(called.path))
    elif called.is_onnx_file:
        check_onnx_file(called.path)
    elif pretrained or called.on_hub:
        if checkpoint_path:
            architecture_of(called.name)
            raise OscineError(f"{name} cannot load its published weights and {checkpoint_path} at once; choose one")
        check_fetchable(name, revision)
    else:
        row = ARCHITECTURES.get(architecture_of(called.name))
        if checkpoint_path:
            check_weights(checkpoint_path)
        elif row and row.of_a_file:
            raise OscineError(no_random_weights(name))
    if prefix:
        check_prefix(prefix, name, pretrained, checkpoint_path)


def check_prefix(prefix: str, name: str, pretrained: bool, checkpoint_path: str | Path | None) -> None:
    """Raise where a prefix has no tensors to choose from; the other arguments have been checked."""
    called = ModelName.parse(name)
    if not called.without_prefix:
        raise OscineError(
            f"prefix={prefix!r} goes with a name of the zoo and its file of tensors, not with {name}; leave it out"
        )
    file = checkpoint_path or (published_row(called.name).file if pretrained else None)
    if file is None:
        raise OscineError(f"prefix={prefix!r} chooses tensors of a file of weights, and none was given; leave it out")
    if Path(file).suffix == ONNX:
        raise OscineError(
            f"prefix={prefix!r} chooses tensors by their names; {file} is an ONNX file, taken whole; leave it out"
        )


def no_random_weights(name: str) -> str:
    """Say of what exists as a file alone that it cannot be untrained, and what would do."""
    row = find_published(name)
    fetched = (
        "pretrained=True fetches it (commands do, without --random-weights), or " if row and row.repository else ""
    )
    return f"{name} exists as an ONNX file alone, so it cannot have random weights; {fetched}give the file: {GIVE_FILE}"


def check_pinned(name: str, path: Path) -> str | None:
    """Raise where a file is given for weights whose hash is known, by their whole name, and is another one.

    Return that hash; None where none is known.
    """
    row = next((row for row in checkpoints.PUBLISHED if row.name == name and row.sha256), None)
    if row and (found := file_hash(path)) != row.sha256:
        raise OscineError(
            f"{path} has sha256 {found}, {name} has {row.sha256}; take the official file, or name the architecture alone, "
            f"{row.architecture}"
        )
    return row and row.sha256


def check_onnx_file(path: Path) -> None:
    """Raise what is wrong with the name of an ONNX file."""
    if path.suffix != ONNX:
        raise OscineError(f"{ONNX_FILE}{path}: expected the name of a file that ends in {ONNX}")
    check_weights(path)


def check_fetchable(name: str, revision: str | None = None) -> None:
    """Raise what is known without a network to be wrong with the name of weights."""
    called = ModelName.parse(name).at(revision)
    if called.on_hub:
        check_repository_name(called.rest)
        return
    row = published_row(called.name)
    if row.state != EMBEDDED:
        repository_of(row)
