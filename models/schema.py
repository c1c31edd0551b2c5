"""JSON of oscine's own files: parse it, and compare its fields with what such a file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from oscine.models.errors import OscineError
from oscine.models.folder import fits

KINDS = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip


def parse_json(content: bytes | str, source: object, remedy: str) -> Any:
    """Parse JSON; an error names its source and what would do."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # ValueError: also bytes that are no text, and numbers of 5,000 digits
        raise OscineError(f"{source} holds no JSON that can be read; {remedy}") from None


def read_json(path: Path, remedy: str) -> Any:
    """Parse a file of JSON; FileNotFoundError where there is none, an error where it cannot be read."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise OscineError(f"{path} could not be read ({error.strerror}); {remedy}") from None
    return parse_json(content, path, remedy)


def check_fields(
    content: Any, fields: Mapping[str, Any], source: object, remedy: str, optional: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a JSON object whose fields are of the types that are named; raise an error that says which is not.

    fields: name to type, as an annotation. optional: of those that may be absent. Further fields are left alone.
    """
    if not isinstance(content, dict):
        raise OscineError(f"{source} holds {str(content)[:40]!r}, expected an object of JSON; {remedy}")
    for name, kind in {**(optional or {}), **fields}.items():
        if name in content:
            if not fits(content[name], kind):
                raise OscineError(
                    f"{source}: {name} is {str(content[name])[:60]!r}, expected {_kind_name(kind)}; {remedy}"
                )
        elif name in fields:
            raise OscineError(f"{source} has no {name}; {remedy}")
    return content


def _kind_name(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_kind_name(one) for one in get_args(kind))
    return KINDS.get(get_origin(kind) or kind, str(kind))
