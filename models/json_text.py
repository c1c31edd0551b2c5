"""JSON that a stranger may have written: whatever is wrong with it is one error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oscine.models.errors import OscineError


def parse_json(text: bytes | str, source: object, remedy: str) -> Any:
    """Return what JSON holds. source, remedy: for the error, the file and what would do."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OscineError(f"{source} is no JSON ({one_line(error)}); {remedy}") from None


def read_json(path: Path, remedy: str) -> Any:
    """Return what a JSON file holds. No file is FileNotFoundError; one that cannot be read is an error like any other."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
    except OSError as error:
        raise OscineError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    return parse_json(content, path, remedy)


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line of at most 200 characters."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    return " ".join(str(error).split())[:200] or type(error).__name__
