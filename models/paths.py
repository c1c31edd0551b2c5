"""What Windows does not take: names and lengths of paths, and paths of several drives."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from oscine.models.errors import OscineError

WINDOWS = os.name == "nt"
LONGEST = 259  # characters of a path on Windows, unless it is set up for longer ones
FORBIDDEN = frozenset('<>:"|?*') | {chr(number) for number in range(32)}
DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)}


def check_name(name: str) -> str:
    """Return the name of one folder; refuse a path, and what no folder can be called on Windows, whatever the system."""
    if name in ("", ".", "..") or {"/", "\\"} & set(name):
        raise OscineError(f"the name {name!r} is a path, expected the name of one folder, such as {_last_part(name)!r}")
    forbidden = sorted(FORBIDDEN & set(name))
    if forbidden:
        reason = f"no {forbidden[0]!r} may stand in one"
    elif name.endswith((".", " ")):
        reason = "none may end in a dot or a space"
    elif name.partition(".")[0].upper() in DEVICES:
        reason = f"{name} is a device"
    else:
        return name
    raise OscineError(f"the name {name!r} is for a folder, and on Windows {reason}; choose another")


def _last_part(path: str) -> str:
    """Return the last part of a path that can be a name."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return parts[-1] if parts else "run_1"


def why_too_long(path: str | Path) -> str:
    """Return why Windows may not find a path that is there, by its length; "" for others, and on other systems."""
    length = len(os.path.abspath(path))
    if not WINDOWS or length <= LONGEST:
        return ""
    return (
        f"its path has {length} characters, and Windows takes {LONGEST}; move it nearer to the root of the drive, or switch "
        "on LongPathsEnabled"
    )


def common_folder(paths: Iterable[str]) -> str:
    """Return the folder below which all files lie; "" where they lie on several drives."""
    try:
        return os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:
        return ""
