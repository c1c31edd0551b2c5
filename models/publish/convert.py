"""Convert an official checkpoint to oscine's layout, with its source and licence beside it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from oscine.models.checkpoints import PUBLISHED, Published, find_published
from oscine.models.errors import OscineError
from oscine.models.replace_outputs import is_empty, remove_empty
from oscine.models.zoo import check_model, create_model

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder


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
    try:
        save_and_compare(encoder, folder)
    except OSError as error:
        raise OscineError(f"{folder} could not be written ({error.strerror}); make room or name another") from error
    return folder


def check_conversion(
    name: str, folder: str | Path, checkpoint: str | Path | None = None, prefix: str = ""
) -> Published:
    """Return the row of the zoo that would be converted; raise what is wrong with the arguments, without torch."""
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise OscineError(f"{folder} is not empty; name another folder for the converted encoder")
    row = official(name)
    check_model(row.name, pretrained=checkpoint is None, checkpoint_path=checkpoint, prefix=prefix)
    return row


def official(name: str) -> Published:
    """Find the row of the zoo with that name; an architecture's first one where no tag is given."""
    row = find_published(name)
    if row is None:
        raise OscineError(f"no official checkpoint {name!r}; there are {', '.join(row.name for row in PUBLISHED)}")
    return row


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
