"""Retry requests to the Hub while publishing, and raise one-line errors."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, ModelInfo, constants
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, LocalEntryNotFoundError

from oscine.models.compat import httpx
from oscine.models.errors import OscineError
from oscine.models.hub.client import TRANSIENT_STATUS, careful_client, retry_after
from oscine.models.hub.download import REASONS, download, explain

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Seconds to wait before a step is tried again, unless the Hub asks for more.
PAUSES = (1, 2, 4, 8, 16)
# OSErrors that are the network's; any other is of this machine's files.
NETWORK_ERRORS = (httpx.HTTPError, ConnectionError, TimeoutError, FileMetadataError, LocalEntryNotFoundError)


def retry(repository: str, step: Callable[[], T]) -> T:
    """Do a step on the Hub that can be done twice; again where it was busy or the connection broke.

    huggingface_hub does so for some requests only, and not for those that create, commit and tag.
    """
    with hub_errors(repository), careful_client(f"publishing {repository}"):
        for pause in PAUSES:
            try:
                return step()
            except (httpx.HTTPError, RuntimeError, json.JSONDecodeError, OscineError) as error:
                asked = retry_delay(cause_of(error))
                if asked is None:
                    raise
                wait = max(pause, asked)
                logger.info("%s; trying again in %d s", type(error).__name__, wait)
                time.sleep(wait)
        return step()


def cause_of(error: Exception) -> Exception:
    """Return what the client met, out of the errors that it and `download` wrap it in."""
    cause = error.__cause__
    wraps = isinstance(error, (RuntimeError, LocalEntryNotFoundError, OscineError))
    return cause_of(cause) if wraps and isinstance(cause, Exception) else error


def retry_delay(error: Exception) -> int | None:
    """Return the seconds that the Hub asks to wait; None where that will not help."""
    if is_local(error) or isinstance(error, OscineError):
        return None
    if not isinstance(error, HfHubHTTPError):
        return 0
    if error.response.status_code not in TRANSIENT_STATUS:
        return None
    return retry_after(error.response.headers)


def is_local(error: Exception) -> bool:
    return isinstance(error, OSError) and not isinstance(error, NETWORK_ERRORS)


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into one line that a user can mend; those of this machine's files stay."""
    try:
        yield
    except OscineError:
        raise
    except json.JSONDecodeError as error:
        raise OscineError(
            f"{constants.ENDPOINT} does not answer as the Hub does ({error}); check HF_ENDPOINT"
        ) from error
    except tuple(REASONS) as error:
        met = cause_of(error)
        if is_local(met) or isinstance(met, OscineError):  # such as too long a wait, met while a file was uploaded
            raise met from None
        raise OscineError(explain(error, repository, publishing=True)) from error
    except ValueError as error:  # metadata or an upload that the Hub refuses
        reason = " ".join(str(error).split())
        raise OscineError(f"the Hub refuses what would be published as {repository}: {reason}") from error


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn errors of this machine's files and disks into one line that a user can mend."""
    try:
        yield
    except OSError as error:
        raise OscineError(
            f"{error.filename or 'the disk'}: {error.strerror or error}, here and not on the Hub; mend it and publish again"
        ) from error


def repo_info(api: HfApi, repository: str, revision: str) -> ModelInfo:
    return retry(repository, lambda: api.model_info(repository, revision=revision, files_metadata=True))


def download_with_retry(repository: str, path: str, commit: str, cache: Path) -> Path:
    return retry(repository, lambda: download(repository, path, commit, cache=cache))
