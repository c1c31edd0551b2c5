"""Fetch weights of the zoo, or find those that come with oscine."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from oscine import __version__
from oscine.models import checkpoints
from oscine.models.checkpoints import ARCHITECTURES, EMBEDDED, Published
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.model_name import ModelName
from oscine.models.zoo.names import CONVERT_FILE, GIVE_FILE, published_row, repository_of

if TYPE_CHECKING:
    from oscine.models.hub.download import Fetched

FOLDER = Path(__file__).parents[1] / "bundled"  # FOLDER/name holds weights, config and card of what comes with oscine


def fetch_weights(name: str, revision: str | None = None, local_files_only: bool = False) -> Fetched:
    """Fetch the weights of `architecture.tag`, an architecture or "hf-hub:OWNER/REPOSITORY", unless they are here."""
    from oscine.models.hub.download import fetch, fetch_if_there
    from oscine.models.hub.onnx_data import data_beside

    found = row_or_repository(ModelName.parse(name).at(revision), local_files_only)
    revision = found.revision
    if found.on_hub:
        from oscine.models.hub.folder import fetch_encoder

        return fetch_encoder(found.rest, revision, local_files_only)[0]
    row = published_row(found.name)
    if row.state == EMBEDDED:
        return embedded(row, revision)
    repository, commit = repository_of(row), revision or row.revision
    pinned = row.sha256 if revision in (None, row.revision) else None
    fetched = fetch(repository, row.file, commit, sha256=pinned, local_files_only=local_files_only)
    if class_file := ARCHITECTURES[row.architecture].config.get("class_file"):  # which its repository may lack
        fetch_if_there(repository, class_file, fetched.revision, local_files_only=local_files_only)
    for data in data_beside(fetched.path):
        fetch(
            repository,
            str(PurePosixPath(row.file).with_name(data)),
            fetched.revision,
            local_files_only=local_files_only,
        )
    return fetched


def fetch_or_advise(name: str, revision: str | None, local_files_only: bool) -> Fetched:
    """Fetch the weights of an encoder; where that fails, the error says what takes a file instead."""
    try:
        return fetch_weights(name, revision, local_files_only)
    except OscineError as error:
        if error.__cause__ is None:  # no answer of the network's: a file that came and is another one, say
            raise
        raise OscineError(
            f"{error}; or give {published_row(name).file}: {GIVE_FILE}; {CONVERT_FILE}"
        ) from error.__cause__


def row_or_repository(name: ModelName, local_files_only: bool) -> ModelName:
    """Name a repository of the table by its row, unless it has a config.json of oscine's itself."""
    row = next((row for row in checkpoints.PUBLISHED if name.on_hub and row.repository == name.rest), None)
    if row is None:
        return name

    from oscine.models.hub.folder import published_by_oscine

    if published_by_oscine(name.rest, name.revision, local_files_only):
        return name
    return ModelName("", row.name, name.revision)


def embedded(row: Published, revision: str | None) -> Fetched:
    """Return the weights in this package, whose revision is oscine's."""
    from oscine.models.hub.download import Fetched

    if revision:
        raise OscineError(f"{row.name} has no revision {revision!r}: it is part of oscine {__version__}; leave it out")
    path = FOLDER / row.name / row.file
    found = file_hash(path) if path.is_file() else "none"
    if found != row.sha256:
        raise OscineError(
            f"{path} has sha256 {found}, expected {row.sha256}: it was changed or lost; install oscine again"
        )
    return Fetched(path, f"oscine {__version__}", found)
