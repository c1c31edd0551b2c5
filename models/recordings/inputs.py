"""Find the recordings that a user names: a folder, one file, a list in a file, or a list in Python."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from oscine.models.audio.load import audio_info
from oscine.models.audio.scan import LISTS, SUFFIXES, UNREAD_SUFFIXES, check_permitted, is_address, scan_folder, unread
from oscine.models.errors import OscineError
from oscine.models.files import did_you_mean

if TYPE_CHECKING:
    from oscine.models.recordings.tables import RecordingList

logger = logging.getLogger(__name__)


class Stretch(NamedTuple):
    """A part of a recording, in seconds; no end is the recording's."""

    start: float = 0.0
    end: float | None = None

    def __str__(self) -> str:
        return f"from {self.start:g} s" + ("" if self.end is None else f" to {self.end:g} s")


WHOLE = Stretch()


class Inputs(NamedTuple):
    """Recordings that are to be read.

    places     name to file; a name stands in a table's column `file`
    stretches  of the recordings that are not read as a whole
    refused    name to reason, of what cannot be read
    """

    places: dict[str, Path]
    stretches: dict[str, list[Stretch]]
    refused: dict[str, str]

    def describe(self) -> dict[str, int | str]:
        """Return how many recordings there are, and a hash of their names and stretches."""
        parts = {
            name: "".join(f"\t{start!r} {end!r}" for start, end in self.stretches.get(name, ())) for name in self.places
        }
        digest = hashlib.sha256("\n".join(name + parts[name] for name in sorted(parts)).encode()).hexdigest()
        return {"recordings": len(parts), "names": digest}


Recordings = str | Path | Sequence[str | Path] | Inputs


def find_inputs(recordings: Recordings) -> Inputs:
    """Find the recordings that a folder, a file, a list in a file, or a list of paths names.

    A recording is named as below the folder; one file by its own name; one of a list as the list has it, or as the disk has
    it where that differs, with / between folders. A list of paths may hold folders, but no list in a file. In a list in a
    file, a row with `start` or `end` is a stretch; a row that comes twice is read once, with a warning. Missing files of a
    list are refused one by one, but where none is there the list is an error.
    """
    if isinstance(recordings, Inputs):
        return recordings
    if not isinstance(recordings, (str, Path)):
        return _of_paths(recordings)
    path = Path(recordings)
    if is_address(recordings):
        raise OscineError(f"{recordings} is an address, not a file; download the recordings first")
    check_permitted(path)
    if path.is_dir() or not (path.exists() or path.suffix.lower() in (*SUFFIXES, *UNREAD_SUFFIXES, *LISTS)):
        return _of_folder(path)
    if path.suffix.lower() in LISTS:
        from oscine.models.recordings.tables import read_list  # here, because it brings pandas along

        return _of_list(read_list(path))
    return _of_file(path)


def _of_folder(folder: Path) -> Inputs:
    found = scan_folder(folder)
    places = {_text(path.relative_to(folder)): path for path in found.recordings}
    return Inputs(places, {}, {_text(path.relative_to(folder)): reason for path, reason in found.refused.items()})


def _of_file(path: Path) -> Inputs:
    suffix = path.suffix.lower()
    if not path.exists():
        raise OscineError(f"no recording {path}; {did_you_mean(path)}")
    if suffix in UNREAD_SUFFIXES:
        raise OscineError(f"{path}: {unread(suffix)}")
    if suffix not in SUFFIXES:
        raise OscineError(
            f"{path} is no recording by its name; expected a folder, a recording ({', '.join(SUFFIXES)}), or a list of "
            f"recordings ({', '.join(LISTS)})"
        )
    audio_info(path)  # what cannot be read is an error here, where it would be one line of many in a folder
    return Inputs({_text(Path(path.name)): path}, {}, {})


def _of_list(listed: RecordingList) -> Inputs:
    listed.check_found(all_of_them=False)
    rows = [
        (listed.shown(name), listed.place(name), Stretch(start, None if math.isinf(end) else end))
        for name, start, end in zip(listed.names, listed.starts, listed.ends)
    ]
    return _of_rows(rows, str(listed.path))


def _of_paths(paths: Iterable[str | Path]) -> Inputs:
    paths = list(paths)
    if not paths:
        raise OscineError("the list of recordings is empty; name one at least")
    wrong = [path for path in paths if not isinstance(path, (str, Path)) or is_address(path)]
    if wrong:
        raise OscineError(f"the list of recordings holds {wrong[0]!r}, expected paths of files on this machine")
    if not any(map(os.path.lexists, paths)):
        raise OscineError(
            f"none of the {len(paths)} recordings of the list exists, such as {paths[0]}; "
            + did_you_mean(paths[0], "check the paths")
        )
    if listed := next((path for path in paths if Path(path).suffix.lower() in LISTS), None):
        raise OscineError(f"{listed} is a list of recordings among other recordings; name it alone")
    rows, refused = list[tuple[str, Path, Stretch]](), dict[str, str]()
    for path in paths:
        if Path(path).is_dir():
            inside = _of_folder(Path(path))
            rows += [(f"{path}/{name}", place, WHOLE) for name, place in inside.places.items()]
            refused |= {_text(Path(f"{path}/{name}")): reason for name, reason in inside.refused.items()}
        else:
            rows.append((str(path), Path(path), WHOLE))
    found = _of_rows(rows, "the list")
    return found._replace(refused=found.refused | refused)


def _of_rows(rows: list[tuple[str, Path, Stretch]], source: str) -> Inputs:
    """Gather the rows of a list: each stretch once, in the order of its start."""
    names: dict[str, str] = {}  # of a place, by which it is known first
    stretches: dict[str, list[Stretch]] = {}
    found, repeated = Inputs({}, {}, {}), list[str]()
    for written, place, stretch in rows:
        name = names.setdefault(os.path.normpath(place), _text(Path(written)))
        suffix = place.suffix.lower()
        if suffix in UNREAD_SUFFIXES:
            found.refused[name] = unread(suffix)
            continue
        found.places[name] = place
        if stretch in stretches.setdefault(name, []):
            repeated.append(name)
        else:
            stretches[name].append(stretch)
    if repeated:
        logger.warning(
            "%s names %d recordings or stretches again, such as %s; each is read once",
            source, len(repeated), repeated[0],
        )  # fmt: skip
    return found._replace(
        stretches={name: sorted(those, key=_order) for name, those in stretches.items() if those != [WHOLE]}
    )


def _order(stretch: Stretch) -> tuple[float, float]:
    return stretch.start, math.inf if stretch.end is None else stretch.end


def _text(path: Path) -> str:
    # Bytes that are no UTF-8 become "\\xe4": neither Parquet nor CSV could hold them.
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")
