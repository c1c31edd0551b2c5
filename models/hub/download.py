"""Fetch files of the Hub, check their hashes, and raise one-line errors."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from huggingface_hub import constants, get_token, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from oscine.models.compat import httpx
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, git_hash
from oscine.models.hub.client import COMMIT, HASH, THE_HUB, UnknownHost, address_of, answerer, careful_client
from oscine.models.json_text import one_line


class Fetched(NamedTuple):
    """A file of the Hub in the local cache."""

    path: Path
    revision: str  # the commit, also where a branch or tag was asked for
    sha256: str


NOT_HERE = "{doing} at {revision} is not in the cache ({cache}), and fetching is switched off; "
LOST = "no connection to {host} for {doing} ({error}); check the network and try again{elsewhere}"
# What a machine without a network does; of fetching alone.
ELSEWHERE = (
    ", or `oscine download` it where there is one, copy the cache ({cache}, see HF_HOME) and set HF_HUB_OFFLINE=1"
)
# What went wrong and what would do. The first kind that fits speaks, so a subclass stands before its base.
REASONS: dict[type[Exception], str] = {
    GatedRepoError: "{repository} is open only to those whom its owners let in: ask at {hub}/{repository}; {login}",
    RepositoryNotFoundError: "the Hub shows no repository {repository}: check the name; if it is private, {login}",
    RevisionNotFoundError: "{repository} has no revision {revision}; give a branch, tag or commit of {hub}/{repository}",
    UnknownHost: LOST,
    OfflineModeIsEnabled: NOT_HERE
    + "unset HF_HUB_OFFLINE, or `oscine download` it where there is a network and copy the cache (HF_HOME)",
    LocalEntryNotFoundError: NOT_HERE + "`oscine download` it first",
    EntryNotFoundError: "{repository} has no file {file} at {revision}; see {hub}/{repository}/tree/{revision}",
    HfHubHTTPError: "{who} answered {status} for {doing}; {remedy}",
    HFValidationError: "{repository!r} is not the name of a repository; expected owner/name",
    FileMetadataError: "{hub} does not answer as the Hub does; check HF_ENDPOINT and the proxy",
    httpx.HTTPError: LOST,
    RuntimeError: LOST,  # what huggingface_hub 1.9 makes of it: it goes on with the client that it has closed
    OSError: "{doing} could not be fetched into {cache} ({error}); make room or set {home}, and try again",
}
REMEDIES = {  # of the Hub's own answers; others know no token
    401: "the token is not accepted: `hf auth login` makes a new one",
    403: "the token may not {may} it: `hf auth login` with one that may",
    429: "those were too many requests: wait a few minutes",
}


def fetch(
    repository: str,
    file: str,
    revision: str | None = None,
    *,
    sha256: str | None = None,
    local_files_only: bool = False,
) -> Fetched:
    """Fetch a file of a repository on the Hub, which must have the hash that the Hub knows, and the one that is given.

    revision: a branch, tag or commit; None is the newest of `main`.
    local_files_only: look only into the cache, as with HF_HUB_OFFLINE=1.
    """
    path = download(repository, file, revision, local_files_only=local_files_only)
    own, commit = file_hash(path), path.parents[len(PurePosixPath(file).parts) - 1].name
    if revision and COMMIT.fullmatch(revision) and commit != revision:
        raise OscineError(
            f"{repository} changed while it was fetched: {file} is of the commit {commit}, expected {revision}; try again"
        )
    for expected in (hash_in_cache(path), sha256):
        kind, found = ("git hash", git_hash(path.read_bytes())) if expected and len(expected) == 40 else ("sha256", own)
        if expected and found != expected:
            other = ", or give it as it is (checkpoint_path, --checkpoint)" if expected == sha256 else ""
            raise OscineError(
                f"{repository}/{file} has {kind} {found}, expected {expected}: it was damaged or changed; delete "
                f"{path.resolve()} and fetch it again{other}"
            )
    return Fetched(path, commit, own)


def download(
    repository: str,
    file: str,
    revision: str | None = None,
    *,
    local_files_only: bool = False,
    cache: Path | None = None,
) -> Path:
    """Return where a file of the Hub lies in the cache, or in another one, fetched unless it is there."""
    try:
        with careful_client(f"{file} of {repository}"):
            return Path(
                hf_hub_download(repository, file, revision=revision, local_files_only=local_files_only, cache_dir=cache)
            )
    except OscineError:
        raise
    except tuple(REASONS) as error:
        raise OscineError(explain(error, repository, file, revision=revision, cache=cache)) from error
    except ValueError as error:  # what the client refuses of an answer
        raise OscineError(f"{file} of {repository} cannot be fetched ({one_line(error)}); check HF_ENDPOINT") from error


def fetch_if_there(
    repository: str, file: str, revision: str | None = None, *, local_files_only: bool = False
) -> Path | None:
    """Fetch a file that a repository may lack; None where it does. The cache remembers either, by the commit."""
    known = try_to_load_from_cache(repository, file, revision=revision)
    if known is not None and not isinstance(known, str):  # neither unknown nor there: remembered as lacking
        return None
    try:
        return fetch(repository, file, revision, local_files_only=local_files_only).path
    except OscineError as error:
        met = error.__cause__
        if isinstance(met, EntryNotFoundError) and not isinstance(met, LocalEntryNotFoundError):
            return None
        raise


def hash_in_cache(path: Path) -> str | None:
    """Return the Hub's hash of a file, git's or sha256: what the cache shows links to a blob so named.

    None where the disk has no links. A link to anything else was not made by a Hub, and is refused.
    """
    if not path.is_symlink():
        return None
    blob = Path(os.readlink(path))
    if blob.parent.name != "blobs" or not HASH.fullmatch(blob.name):
        raise OscineError(
            f"{path} links to {blob}, expected a blob that is called by its hash; delete it and fetch it again"
        )
    return blob.name


def explain(
    error: Exception,
    repository: str,
    file: str = "",
    *,
    revision: str | None = None,
    cache: Path | None = None,
    publishing: bool = False,
) -> str:
    """Explain an error of huggingface_hub, or the cause that it names, in one line."""
    cause = error.__cause__
    wrapped = isinstance(error, (LocalEntryNotFoundError, RuntimeError))
    if wrapped and isinstance(cause, Exception) and isinstance(cause, tuple(REASONS)):
        error = cause
    reason = next(text for kind, text in REASONS.items() if isinstance(error, kind))
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    url = url_of(error)
    who = answerer(url) if url else THE_HUB
    said = (error.server_message or "") if isinstance(error, HfHubHTTPError) and 400 <= status < 500 else ""
    kept = cache or constants.HF_HUB_CACHE
    known = REMEDIES.get(status, "").format(may="write" if publishing else "read") if who == THE_HUB else ""
    return reason.format(
        repository=repository,
        file=file,
        doing=f"publishing {repository}" if publishing else f"{file} of {repository}",
        revision=revision or "main",
        hub=constants.ENDPOINT,
        host=address_of(url) if url else constants.ENDPOINT,
        who=who,
        cache=kept,
        elsewhere="" if publishing else ELSEWHERE.format(cache=kept),
        home="TMPDIR" if cache else "HF_HOME",
        status=status,
        remedy=known or " ".join(said.split()) or "try again later",
        login="your token does not open it"
        if get_token()
        else "`hf auth login`, or set HF_TOKEN: there is no token yet",
        error=str(error).partition("\n")[0] or type(error).__name__,
    )


def url_of(error: Exception) -> Any:
    """Return the URL that an error of the client is about, as far as that knows it: it may be another host's."""
    try:
        return error.response.url if isinstance(error, HfHubHTTPError) else error.request.url  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return None
