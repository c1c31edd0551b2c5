"""Read JSON that a stranger may have written, and check fields: what is wrong is one error naming it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from oscine import __version__
from oscine.models.errors import OscineError

T = TypeVar("T")
MOST = 5  # settings that an error names
KINDS = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip


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
    return [f"{name} {shown(was.get(name), 99)}, not {shown(now.get(name), 99)}" for name in names]


def check_same_settings(
    was: Mapping[str, Any], now: Mapping[str, Any], *, complaint: str, remedy: str, aside: Collection[str] = ()
) -> None:
    """Refuse to go on with work that was begun with other settings: "COMPLAINT NAME WAS, not NOW; ...; REMEDY"."""
    if differ := differences(was, now, aside):
        more = [f"and {len(differ) - MOST} more"] if len(differ) > MOST else []
        raise OscineError(f"{complaint} {'; '.join([*differ[:MOST], *more])}; {remedy}")


def _kind_name(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_kind_name(one) for one in get_args(kind))
    return KINDS.get(get_origin(kind) or kind, str(kind))


def shown(value: object, most: int = 60) -> str:
    """Return a value for an error, cut after `most` characters: a stranger's file may hold a long one."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else f"{float(min(abs(value), 10**300)):g}"
    return text if len(text) <= most else f"{text[:most]}..."


def check_version(version: object, path: object) -> None:
    """Raise where a newer oscine wrote a file: the same names may mean something else. No version is an older one."""
    if release(str(version)) > release(__version__):
        raise OscineError(f"{path} is of oscine {str(version)[:20]}, this is {__version__}; update oscine")


def release(version: str) -> list[int]:
    """Return a version's numbers, to compare: 0.10.1.dev3 is [0, 10, 1]."""
    return [int(number) for number in re.findall(r"\d+", version[:99])[:3]]


def fits(value: object, kind: Any) -> bool:
    """Return whether a value fits an annotation, to the last part; an int will do for a float, a bool for neither."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in parts)
    if origin in (list, Sequence):
        kinds = list if origin is list else (list, tuple)
        return isinstance(value, kinds) and all(fits(one, parts[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    if kind in (int, float):  # finite, and not beyond what a float can be
        return isinstance(value, (int, kind)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, origin or kind)


def dotted(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by their dotted keys, such as fit.lr, as they are given on a command line."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
