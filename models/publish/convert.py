"""Convert an official checkpoint or an ONNX file to oscine's layout, with its source and licence beside it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from oscine.models.checkpoints import PUBLISHED, Published, find_published
from oscine.models.errors import OscineError
from oscine.models.hub.model_name import ONNX_FILE
from oscine.models.hub.onnx_data import check_class_list
from oscine.models.replace_outputs import is_empty, remove_empty
from oscine.models.zoo import check_model, create_model

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.encoders.onnx_encoder import ONNXEncoder


def convert_checkpoint(
    name: str, folder: str | Path, checkpoint: str | Path | None = None, *, prefix: str = ""
) -> Path:
    """Write the official checkpoint of a name of the zoo, as architecture.tag, into a folder that `local-dir:` loads.

    checkpoint: the file as its authors offer it; without, it is fetched from their repository on the Hub. prefix: with which
    the names of the encoder's tensors begin, where the file holds others that are called alike. Beside weights and config
    lies source.json with the file's hash and the licence that its authors state, which publishing carries along.
    """
    folder, row = Path(folder), check_conversion(name, folder, checkpoint, prefix)
    encoder = create_model(row.name, pretrained=checkpoint is None, checkpoint_path=checkpoint, prefix=prefix)
    if encoder.origin is None or encoder.origin.model != row.name:
        found = encoder.provenance and encoder.provenance["sha256"]
        raise OscineError(
            f"{checkpoint} has sha256 {found}, {row.name} has {row.sha256 or 'another'}; take the official file"
        )
    write(encoder, folder)
    return folder


def check_conversion(
    name: str, folder: str | Path, checkpoint: str | Path | None = None, prefix: str = ""
) -> Published:
    """Return the row of the zoo that would be converted; raise what is wrong with the arguments, without torch."""
    check_folder_is_free(Path(folder))
    row = official(name)
    check_model(row.name, pretrained=checkpoint is None, checkpoint_path=checkpoint, prefix=prefix)
    return row


def check_folder_is_free(folder: Path) -> None:
    """Raise where a folder to write has something in it, or is none."""
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise OscineError(f"{folder} is not empty; name another folder for the converted encoder")


def convert_onnx_file(path: Path, folder: Path, settings: Mapping[str, Any]) -> ONNXEncoder:
    """Write the encoder that an ONNX file computes into a folder that `local-dir:` loads, and return it.

    settings: of `ONNXEncoder`, as far as the file does not say them of itself; `class_file` may be a path beside it.
    """
    encoder = create_model(f"{ONNX_FILE}{path}", **check_onnx_file(path, folder, settings))
    write(encoder, folder)
    return cast("ONNXEncoder", encoder)


def check_onnx_file(path: Path, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an ONNX file's encoder; raise what is wrong with them, without torch."""
    check_folder_is_free(folder)
    check_model(f"{ONNX_FILE}{path}")
    if (class_file := settings.get("class_file")) is None:
        return dict(settings)
    if Path(class_file).resolve().parent != path.resolve().parent:
        raise OscineError(f"{class_file} does not lie beside {path}; put both into one folder")
    name = Path(class_file).name
    check_class_list(path, name)
    return {**settings, "class_file": name}


def official(name: str) -> Published:
    """Find the row of the zoo with that name; an architecture's first one where no tag is given."""
    row = find_published(name)
    if row is None:
        known = [row.name for row in PUBLISHED]
        near = get_close_matches(name, [*known, *(name.partition(".")[0] for name in known)], n=1, cutoff=0.8)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise OscineError(f"no official checkpoint {name!r}; {meant}")
    return row


def write(encoder: Encoder, folder: Path) -> None:
    """Write the folder; where it cannot be written, say so in one line."""
    try:
        save_and_compare(encoder, folder)
    except OSError as error:
        raise OscineError(f"{folder} could not be written ({error.strerror}); make room or name another") from error


def save_and_compare(encoder: Encoder, folder: Path) -> None:
    """Write the folder whole, or not at all: beside where it belongs, and there in one step."""
    from oscine.models.hub.folder import save_pretrained
    from oscine.models.publish.contents import check_same_features

    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        part = save_pretrained(encoder, Path(temporary, folder.name))
        check_same_features(encoder, part)
        if folder.exists():
            remove_empty(folder)  # not every system puts a folder in the place of another
        part.rename(folder)
