"""Find the recordings in folders, by their names alone."""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from pathlib import Path
from typing import NamedTuple

from oscine.models.errors import OscineError
from oscine.models.files import did_you_mean
from oscine.models.text.words import counted

SUFFIXES = (
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64",
    ".wav", ".wave",
)  # fmt: skip
UNREAD_SUFFIXES = (".aac", ".amr", ".m4a", ".mp4", ".webm", ".wma")  # recordings too, but not for soundfile

LISTS = (".csv", ".tsv", ".txt", ".parquet")  # of recordings, as `oscine.models.recordings.tables` reads them

logger = logging.getLogger(__name__)


def is_recording(name: str) -> bool:
    """Return whether a name ends as those of recordings do."""
    return name.lower().endswith((*SUFFIXES, *UNREAD_SUFFIXES))


class Found(NamedTuple):
    """What lies in a folder: recordings in the order of their names below it; what cannot be used, and why."""

    recordings: list[Path]
    refused: dict[Path, str]


def find_recordings(folder: str | Path) -> list[Path]:
    """Find all recordings in a folder and the folders below it, in the order of their names.

    Upper-case suffixes count, hidden files (".name") do not; links are followed, each folder is entered once. What cannot
    be used (a folder without permission, a format that is not read) is logged. A folder without recordings is an error.
    """
    found = scan_folder(folder)
    for path, reason in found.refused.items():
        logger.warning("%s: %s", path, reason)
    return found.recordings


def find_tabled(folder: str | Path) -> list[Path]:
    """Find recordings whose names a table can hold; those whose name is no UTF-8 are logged."""
    recordings = find_recordings(folder)
    named = [path for path in recordings if is_utf8(path)]
    if len(named) < len(recordings):
        first = next(path for path in recordings if not is_utf8(path))
        left = counted(len(recordings) - len(named), "recording has a name that is", "recordings have names that are")
        name = os.fsencode(first).decode(errors="backslashreplace")
        logger.warning("%s no UTF-8, such as %s; left out until renamed", left, name)
    if not named:
        raise OscineError(f"no recordings in {folder} with a name in UTF-8; rename them")
    return named


def is_utf8(path: Path) -> bool:
    """Return whether a name is text that a table can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def scan_folder(folder: str | Path) -> Found:
    """Find recordings as `find_recordings` does, and return what cannot be used instead of logging it."""
    folder = Path(folder)
    check_permitted(folder)
    if not folder.exists():
        raise OscineError(f"no folder {folder}; {did_you_mean(folder)}")
    if not folder.is_dir():
        raise OscineError(f"{folder} is a file, expected a folder of recordings; name the folder it lies in")
    recordings, refused = _walk(folder)
    if not recordings:
        others = f"; {len(refused)} of its entries cannot be used, such as {next(iter(refused))}" if refused else ""
        raise OscineError(
            f"no recordings in {folder}{others}; looked for {', '.join(SUFFIXES)}, also in folders below it"
        )
    return Found(sorted(recordings, key=lambda path: path.relative_to(folder).as_posix()), refused)


def check_permitted(path: Path) -> None:
    """Raise an error where a file or folder that is named, or the one it lies in, may not be read."""
    try:
        if path.is_dir():
            os.scandir(path).close()
            (path / "any").exists()  # listing a folder and opening its files are two permissions
        elif path.is_file():
            path.open("rb").close()
    except PermissionError:
        raise OscineError(f"{path} may not be read; give yourself permission to read it") from None
    except OSError:
        return  # whoever reads it says why that fails


def _walk(folder: Path) -> Found:
    found = Found([], {})
    entered = set()
    # Links wait until everything that is really there has been seen: a recording is found under its own name first.
    waiting = deque([folder])
    while waiting:
        current = waiting.popleft()
        try:
            status = current.stat()
            entries = [] if (status.st_dev, status.st_ino) in entered else sorted(current.iterdir())
        except OSError as error:
            found.refused[current] = f"the folder could not be opened ({error.strerror}); give yourself permission to"
            continue
        entered.add((status.st_dev, status.st_ino))
        for entry in entries:
            suffix = entry.suffix.lower()
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry):
                waiting.append(entry) if entry.is_symlink() else waiting.appendleft(entry)
            elif suffix in UNREAD_SUFFIXES:
                found.refused[entry] = unread(suffix)
            # A link to nothing is kept, so that reading it says so; a pipe or a socket would be waited on for ever.
            elif suffix in SUFFIXES and (os.path.isfile(entry) or entry.is_symlink()):
                found.recordings.append(entry)
    return found


def unread(suffix: str) -> str:
    """Return why recordings with such a suffix cannot be used."""
    return f"{suffix[1:].upper()} files are not read; convert it to WAV or FLAC"


def is_address(name: str | Path) -> bool:
    """Return whether a name is an address such as https://..., of which a `Path` has lost a stroke; C:/ is a drive."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(name)) is not None
