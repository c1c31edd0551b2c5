"""Save and load states sealed with a checksum: torch would read a torn file without a word."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from oscine.models.errors import OscineError
from oscine.models.files import whole
from oscine.models.json_text import one_line

# Bytes of SHA-256 behind what torch wrote. torch.load reads past them, and past a flipped byte in the weights, too.
CHECKSUM_BYTES = sha256().digest_size
CHUNK = 1 << 20


# What torch.load raises for a file that is none of its own.
UNPICKLED = (
    pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, EOFError, struct.error, AttributeError,
    OSError, MemoryError,
)  # fmt: skip


def why_not_loaded(error: BaseException) -> str:
    """Return in a few words why torch.load refused a file.

    torch advises to load it with weights_only=False, which would run whatever is in it: that is not passed on.
    """
    text = str(error)
    if found := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {found[1]}, which is no part of weights"
    if isinstance(error, OSError):
        return error.strerror or one_line(error)
    if isinstance(error, RuntimeError) and "PytorchStreamReader" not in text and "weights_only" not in text:
        return one_line(error)
    return "torch.save did not write it, or it is damaged"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what torch warns of in a file that it then refuses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")
        yield


class Hashed:
    """A file to write, and the checksum of what was written: a state of many GB is not held in memory for it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.checksum = file, sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        self.checksum.update(content)
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save_checksummed(path: Path, state: Any) -> None:
    """Write what torch.save takes; a full disk is an OSError and leaves what was there."""
    with whole(path) as file:
        hashed = Hashed(file)
        try:
            torch.save(state, cast(BinaryIO, hashed))
        except RuntimeError:  # what torch makes of a full disk when it closes its file
            if hashed.error:
                raise hashed.error from None
            raise
        file.write(hashed.checksum.digest())


def load_checksummed(path: Path) -> Any:
    """Load what was written, its tensors on the CPU; raise where it was changed. No file is FileNotFoundError."""
    try:
        with path.open("rb") as file:
            checksum = sha256()
            left = path.stat().st_size - CHECKSUM_BYTES
            while left > 0:
                chunk = file.read(min(left, CHUNK))
                if not chunk:  # another file has taken its place, or it was cut
                    break
                checksum.update(chunk)
                left -= len(chunk)
            if checksum.digest() != file.read():
                raise OscineError(f"{path} is torn: cut short or changed since it was written")
            file.seek(0)
            with quiet():
                return torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, OscineError):
        raise
    except UNPICKLED as error:
        raise OscineError(f"{path} cannot be read: {why_not_loaded(error)}") from None
