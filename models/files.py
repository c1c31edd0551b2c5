"""Write files whole or not at all, hash and stamp them, check names of folders, find the file that a wrong name means."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from hashlib import sha1, sha256
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from oscine.models.errors import OscineError

Stamp = tuple[int, int, str]  # a file's size in bytes, its time in ns, and a hash of its first and last part

ENDS = 2**12  # bytes at each end by which one file is told from another: a block of the disk
ENTRIES = 10_000  # of a folder, among which a name like a wrong one is looked for
DIGITS = 12  # of that hash; one of 16 is of a version that took more bytes

WINDOWS = os.name == "nt"
LONGEST = 259  # characters of a path on Windows, unless it is set up for longer ones
FORBIDDEN = frozenset('<>:"|?*') | {chr(number) for number in range(32)}
DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)}

# A path from the root, from a home or from above, also by way of below, or behind the word for a saved encoder or a
# file; here or on Windows.
PLACE = re.compile(
    r"(local-dir:|onnx-file:)?(?:file://)?(?:(?:~[^/\\]*|\.\.|[A-Za-z]:)?[/\\]|(?:[^/\\]+[/\\])+\.\.(?:[/\\]|$)).*",
    re.DOTALL,
)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there complete or not at all, also after a crash."""
    with whole(path) as file:
        file.write(content)


def append_line(path: Path, text: str) -> None:
    """Add a line to a file and see it on disk. Several processes may do so at once; half a line of a crash stays alone."""
    line = f"{text}\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line)  # one write at the end of the file: no two lines mix
        os.fsync(file.fileno())


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write and read, which is there complete once the block has ended without an error, else not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        put(part, path)
    except BaseException:
        part.unlink(missing_ok=True)  # a full disk has no room for halves
        raise


def put(part: Path, path: Path) -> None:
    """Rename a file, over what is there. On Windows try again while another process, often a virus scanner, has it open."""
    for pause in (0.05, 0.2, 0.5, 1.0) if WINDOWS else ():
        with suppress(PermissionError):
            part.replace(path)
            return
        time.sleep(pause)
    part.replace(path)


def file_stamp(path: str | Path) -> Stamp:
    """Return what tells a file from another that is, or was, in its place."""
    with open(path, "rb") as file:
        return stamp_of(file)


def stamp_of(file: BinaryIO) -> Stamp:
    """Return the stamp of a file that is open; where one reads it from is another place afterwards."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, ends(file)


def file_hash(path: Path) -> str:
    """Return a file's sha256, in hexadecimal digits."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def git_hash(content: bytes) -> str:
    """Return the hash that git, and the Hub of a small file, gives a content."""
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def bytes_in_words(count: int) -> str:
    """Return a number of bytes in the unit that fits: 1.5 GB, 20.0 MB, 3.2 kB, 7 bytes."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} bytes"


def ends(file: BinaryIO) -> str:
    """Hash a file's first and last bytes: of two files of one size and time, others may hold other sound."""
    file.seek(0)
    first = file.read(ENDS)
    file.seek(max(0, file.seek(0, io.SEEK_END) - ENDS))
    return sha256(first + file.read(ENDS)).hexdigest()[:DIGITS]


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


def similar_path(path: str | Path) -> Path | None:
    """Return the file or folder whose path is most like one that is not there, part by part; None without one.

    By other numbers it is another recording, not a misspelt one: those of 05:00 and 06:00 differ in one digit.
    """
    path = Path(path)
    missing = next((part for part in (*reversed(path.parents), path) if not os.path.exists(part)), None)
    if missing is None:
        return path
    try:
        with os.scandir(missing.parent) as entries:
            there = [entry.name for entry in islice(entries, ENTRIES) if entry.is_file() or entry.is_dir()]
    except OSError:
        return None
    near = [missing.with_name(name) for name in get_close_matches(missing.name, there)]
    near = [other for other in near if _alike(other.stem, missing.stem) and _alike(other.suffix, missing.suffix)]
    near = [other for other in near if _numbers(other.stem) == _numbers(missing.stem)]
    return similar_path(near[0] / path.relative_to(missing)) if near else None


def _alike(one: str, other: str) -> bool:
    """Return whether names are near, apart from their suffix, in which a.wav and b.wav are."""
    return bool(get_close_matches(one, [other], n=1))


def _numbers(name: str) -> list[str]:
    """Return the numbers in a name; 01 is 1."""
    return [digits.lstrip("0") for digits in re.findall(r"\d+", name)]


def did_you_mean(path: str | Path, otherwise: str = "check the path") -> str:
    """Return what to say of a path that is not there: which one is meant, if one is near by its name, or what would do."""
    near = None if os.path.exists(path) else similar_path(path)
    return f"did you mean {near}?" if near else otherwise


def common_folder(paths: Iterable[str]) -> str:
    """Return the folder below which all files lie; "" where they lie on several drives."""
    try:
        return os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:
        return ""


def strip_local_paths(value: Any) -> Any:
    """Cut every path that leads out of the current folder down to its last part, in JSON's or YAML's values."""
    if isinstance(value, dict):
        return {key: strip_local_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [strip_local_paths(one) for one in value]
    place = PLACE.fullmatch(value) if isinstance(value, str) else None
    return (place[1] or "") + re.split(r"[/\\]", place[0].rstrip("/\\"))[-1] if place else value


def as_path(settings: object, name: str) -> None:
    """Make a field of a frozen settings class that was given as a text a path."""
    if isinstance(value := getattr(settings, name), str):
        object.__setattr__(settings, name, Path(value))
