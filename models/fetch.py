"""Files of the Hub, from the cache or the network: checked against their hash, and every failure said in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from huggingface_hub import constants, get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from oscine.models.errors import OscineError
from oscine.models.weights import file_hash


class Fetched(NamedTuple):
    """A file of the Hub in the local cache."""

    path: Path
    revision: str  # the commit, also where a branch or tag was asked for
    sha256: str


NOT_HERE = "{file} of {repository} at {revision} is not in the cache ({cache}), and fetching is switched off; "
LOST = "no connection to {hub} for {file} of {repository} ({error}); check the network and try again"
# What went wrong and what would do. The first kind that fits speaks, so a subclass stands before its base.
REASONS: dict[type[Exception], str] = {
    GatedRepoError: "{repository} is open only to those whom its owners let in: ask at {hub}/{repository}; {login}",
    RepositoryNotFoundError: "the Hub shows no repository {repository}: check the name; if it is private, {login}",
    RevisionNotFoundError: "{repository} has no revision {revision}; give a branch, tag or commit of {hub}/{repository}",
    OfflineModeIsEnabled: NOT_HERE + "unset HF_HUB_OFFLINE, or `oscine download` it where there is a network",
    LocalEntryNotFoundError: NOT_HERE + "`oscine download` it first",
    EntryNotFoundError: "{repository} has no file {file} at {revision}; see {hub}/{repository}/tree/{revision}",
    HfHubHTTPError: "the Hub answered {status} for {file} of {repository}; {remedy}",
    HFValidationError: "{repository!r} is not the name of a repository; expected owner/name",
    FileMetadataError: "{hub} does not answer as the Hub does; check HF_ENDPOINT and the proxy",
    HTTPError: LOST,
    RuntimeError: LOST,  # what huggingface_hub 1.9 makes of it: it goes on with the client that it has closed
    OSError: "{file} of {repository} could not be fetched into {cache} ({error}); make room or set HF_HOME, and try again",
}
REMEDIES = {
    401: "the token is not accepted: `hf auth login` makes a new one",
    403: "the token may not read it: `hf auth login` with one that may",
    429: "those were too many requests: wait a few minutes",
}


def fetch(
    repository: str, file: str, revision: str | None = None, sha256: str | None = None, local_files_only: bool = False
) -> Fetched:
    """A file of a repository on the Hub, which must have the hash that the Hub, and the caller if given, know.

    revision: a branch, tag or commit; None is the newest of `main`.
    local_files_only: look only into the cache, as with HF_HUB_OFFLINE=1.
    """
    try:
        path = Path(hf_hub_download(repository, file, revision=revision, local_files_only=local_files_only))
    except tuple(REASONS) as error:
        raise OscineError(explain(error, repository, file, revision)) from error
    found = file_hash(path)
    for expected in (hash_in_cache(path), sha256):
        if expected and found != expected:
            raise OscineError(
                f"{repository}/{file} has sha256 {found}, expected {expected}: it was damaged or changed; delete "
                f"{path.resolve()} and fetch it again, or load it as it is with checkpoint_path="
            )
    return Fetched(path, path.parents[len(PurePosixPath(file).parts) - 1].name, found)


def hash_in_cache(path: Path) -> str | None:
    """The Hub's sha256 of a large file: what the cache shows is a link to a blob of that name. Small files have none."""
    blob = Path(os.readlink(path)).name if path.is_symlink() else ""
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else None


def explain(error: Exception, repository: str, file: str, revision: str | None) -> str:
    """One line for an error of huggingface_hub, which tells what it met as the cause of what it could not find."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    reason = next(text for kind, text in REASONS.items() if isinstance(error, kind))
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    return reason.format(
        repository=repository,
        file=file,
        revision=revision or "main",
        hub=constants.ENDPOINT,
        cache=constants.HF_HUB_CACHE,
        status=status,
        remedy=REMEDIES.get(status, "try again later"),
        login="your token does not open it"
        if get_token()
        else "`hf auth login`, or set HF_TOKEN: there is no token yet",
        error=str(error).partition("\n")[0] or type(error).__name__,
    )
