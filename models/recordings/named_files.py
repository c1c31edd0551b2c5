"""Find the files that a table names, where a name may differ on this disk in case, accents or backslashes."""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath

from oscine.models.audio.scan import SUFFIXES, is_recording
from oscine.models.errors import OscineError
from oscine.models.files import similar_path
from oscine.models.text.safe_text import restore_controls

GUESSED = 20  # names that do not exist for which it is sought what may be meant
ENTRIES = 5_000  # of folders that are looked through for recordings that lie elsewhere
SHOWN = 3
THREADS = 16  # a disk in a network answers many questions at once


class Listings:
    """The names in folders, each read once, by how they are spelt alike: without case, accents composed."""

    def __init__(self) -> None:
        self.folders: dict[Path, dict[str, list[str]]] = {}

    def alike(self, folder: Path, name: str) -> list[str]:
        """Find what lies in a folder and differs from a name in case, composition of accents, or a missing suffix."""
        if folder not in self.folders:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            self.folders[folder] = {}
            for found in names:
                self.folders[folder].setdefault(_spelling(found), []).append(found)
        known = self.folders[folder]
        spelling = _spelling(name)
        if spelling in known or is_recording(name):
            return known.get(spelling, [])
        return [found for suffix in SUFFIXES for found in known.get(spelling + suffix, [])]

    def find(self, folder: Path, name: str) -> Path | None:
        """Find the one file that a name can mean; None where there is none or several."""
        current = folder
        for part in PurePosixPath(name.replace("\\", "/")).parts:
            if not os.path.exists(current / part):  # which a name that is too long does not disturb
                alike = self.alike(current, part)
                if len(alike) != 1:
                    return None
                part = alike[0]
            current = current / part
        return current if os.path.isfile(current) else None


def _plain(folder: Path) -> Path:
    """Return a folder without "..", unless a symbolic link makes that another one."""
    plain = Path(os.path.normpath(folder))
    return plain if plain.exists() and folder.exists() and plain.samefile(folder) else folder


def find_files(table: Path, names: Sequence[str], folder: str | Path | None = None) -> tuple[list[str], list[str]]:
    """Find the absolute path of every name in a table, and what was guessed; raise where a file is not there.

    folder: that names are relative to, if not the table's.
    """
    found, notes = find_named(table, names, folder)
    if missing := [name for name in dict.fromkeys(names) if name not in found]:
        raise missing_error(table, names, missing, folder)
    return [found[name] for name in names], notes


def find_named(table: Path, names: Sequence[str], folder: str | Path | None = None) -> tuple[dict[str, str], list[str]]:
    """Find the absolute paths of those names in a table that lead to a file, and what was guessed.

    Names are relative to the table's folder, unless another is given. Guessed are backslashes between folders, another case,
    accents composed or not, a suffix that is left out, each where one file alone can be meant; and that all names are
    relative to the folder in which the command is called, where none of them leads anywhere from the table.
    """
    folder, unique = _plain(Path(folder or table.parent).absolute()), list(dict.fromkeys(names))
    found = _existing(folder, unique)
    # What a table of ours writes of a name with a tab, say; a name that is there as it is written comes first.
    meant = {name: restore_controls(name) for name in unique if name not in found and restore_controls(name) != name}
    there = _existing(folder, [*meant.values()])
    found |= {name: there[restored] for name, restored in meant.items() if restored in there}
    if len(found) == len(unique):
        return found, []
    listings = Listings()
    guessed = {name: path for name in unique if name not in found and (path := listings.find(folder, name))}
    found |= {name: str(path) for name, path in guessed.items()}
    if not found and (here := _existing(Path.cwd(), unique)).keys() == {*unique}:
        return here, [f"paths are relative to {Path.cwd()}, where the command is called"]
    return found, _differences(guessed)


def missing_error(
    table: Path, names: Sequence[str], missing: Sequence[str], folder: str | Path | None = None
) -> OscineError:
    """Make the error that says which recordings do not exist, and what may be meant. folder: as for `find_files`."""
    folder, listings, total = Path(folder or table.parent).absolute(), Listings(), len({*names})
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    guess = next(filter(None, (_guess(folder, name, listings) for name in missing[:GUESSED])), "")
    if not guess and len(missing) == total:
        guess = _elsewhere(folder, missing)
    guess = guess or next(filter(None, (_near(folder, name) for name in missing[:SHOWN])), "")
    return OscineError(
        f"{table}: {len(missing)} of its {total} recordings do not exist, such as {', '.join(missing[:SHOWN])}{more}; paths "
        f"are relative to {folder}{guess}"
    )


def _elsewhere(folder: Path, names: Sequence[str]) -> str:
    """Tell what to do where one folder, below or beside the table's, holds all recordings; as the end of a sentence."""
    if any(PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute() for name in names):
        return ""
    plain = [name.replace("\\", "/") for name in names]
    there = [place for place in _folders_near(folder) if os.path.isfile(place / plain[0])]
    there = [place for place in there if len(_existing(place, plain)) == len(plain)]
    if len(there) != 1:
        return ""
    prefix = Path(os.path.relpath(there[0], folder)).as_posix()
    return f"; they all lie in {there[0]}: the column path needs {prefix}/ before each name, or move the table there"


def _folders_near(folder: Path) -> Iterator[Path]:
    """Yield the folders below one, of `ENTRIES` entries; the one above, and those beside it. No links are followed."""
    left, below = ENTRIES, deque([folder])
    while below and left > 0:
        inner, count = _folders_in(below.popleft(), left)
        left -= count
        below += inner
        yield from inner
    yield folder.parent
    yield from (place for place in _folders_in(folder.parent, ENTRIES)[0] if place != folder)


def _folders_in(folder: Path, most: int) -> tuple[list[Path], int]:
    """Find the folders among the first entries of a folder, and how many entries were looked at."""
    try:
        with os.scandir(folder) as entries:
            seen = list(islice(entries, most))
    except OSError:
        return [], 1
    return sorted(Path(entry.path) for entry in seen if entry.is_dir(follow_symlinks=False)), len(seen)


def _existing(folder: Path, names: Sequence[str]) -> dict[str, str]:
    paths = [str(folder / name) for name in names]
    with ThreadPoolExecutor(THREADS) as threads:
        there = list(threads.map(os.path.isfile, paths))
    return {name: path for name, path, is_there in zip(names, paths, there, strict=True) if is_there}


def _differences(guessed: dict[str, Path]) -> list[str]:
    """Tell how names differ from those on the disk, each kind with an example."""
    divided, accents, spelt = [], [], []
    for name, path in guessed.items():
        wanted = PurePosixPath(name.replace("\\", "/"))
        there = PurePosixPath(*path.parts[-len(wanted.parts) :])
        if "\\" in name and os.sep != "\\":
            divided.append(f"backslashes divide folders, as in {name}")
        if _composed(wanted) == _composed(there) and wanted != there:
            accents.append(f"accents are composed otherwise on the disk, as in {there}")
        elif wanted != there:
            spelt.append(f"{wanted} is {there.name} on the disk, which is taken")
    kinds = [kind for kind in (divided, accents, spelt) if kind]
    return [kind[0] + (f" ({len(kind)} such names)" if len(kind) > 1 else "") for kind in kinds]


def _guess(folder: Path, name: str, listings: Listings) -> str:
    """Tell what may be meant by a name that is not there, as the end of a sentence."""
    path = PurePosixPath(PureWindowsPath(name).as_posix())
    if len(alike := listings.alike(folder / path.parent, path.name)) > 1:
        return f"; {' and '.join(alike)} are both there: name one exactly"
    others = listings.alike(folder / path.parent, path.stem) if is_recording(path.name) else []
    if others:
        are = f"{others[0]} is" if len(others) == 1 else f"{' and '.join(others)} are"
        return f"; {are} there: if {'that' if len(others) == 1 else 'one of them'} is meant, name it"
    for place, where in ((folder, "the table's folder"), (Path.cwd(), "the folder in which the command is called")):
        for drop in range(len(path.parts)):
            tail = PurePosixPath(*path.parts[drop:])
            if not tail.is_absolute() and (found := listings.find(place, str(tail))):
                meant = os.path.relpath(found, folder)
                return f"; {found.relative_to(place)} is in {where}: if that is meant, write {meant}"
    return ""


def _near(folder: Path, name: str) -> str:
    """Tell which file is called like one that is not there, as the end of a sentence."""
    place = folder / PurePosixPath(PureWindowsPath(name).as_posix())
    near = similar_path(place)
    if near is None or not near.is_file():
        return ""
    return f"; did you mean {Path(os.path.relpath(near, folder)).as_posix()}?"


def _spelling(name: str) -> str:
    return _composed(name).casefold()


def _composed(name: object) -> str:
    return unicodedata.normalize("NFC", str(name))
