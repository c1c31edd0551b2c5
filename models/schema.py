"""JSON of oscine's own files: compare its fields with what such a file holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from oscine.models.errors import OscineError
from oscine.models.folder import fits, shown

T = TypeVar("T")
KINDS = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip


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


def as_record(kind: type[T], content: Any, source: object, remedy: str) -> T:
    """Return a NamedTuple or dataclass of a JSON object, which must have its fields, of their types, and no others."""
    fields = get_type_hints(kind)
    check_fields(content, {}, source, remedy, optional=fields)
    if further := sorted(content.keys() - fields.keys()):
        raise OscineError(f"{source} has a field {shown(further[0])}, expected {', '.join(fields)}; {remedy}")
    try:
        return kind(**content)
    except TypeError:
        missing = ", ".join(sorted(fields.keys() - content.keys()))
        raise OscineError(f"{source} lacks {missing}; {remedy}") from None


def differences(was: Mapping[str, Any], now: Mapping[str, Any], aside: Collection[str] = ()) -> list[str]:
    """Return what differs between two records, each as "NAME WAS, not NOW"; aside: names that do not count."""
    names = [name for name in {**was, **now} if name not in aside and was.get(name) != now.get(name)]
    return [f"{name} {was.get(name)!r}, not {now.get(name)!r}" for name in names]


def _kind_name(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_kind_name(one) for one in get_args(kind))
    return KINDS.get(get_origin(kind) or kind, str(kind))
