"""Replace only what oscine wrote itself: move it aside first, delete it once the new files stand."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import check_fields, read_json
from oscine.models.locks import lock_output

# What desktops and network disks leave in a folder that was looked at; nobody misses it.
LITTER = re.compile(
    r"\.DS_Store|\._.*|\.AppleDouble|\.localized|\.directory|(eh)?Thumbs\.db|desktop\.ini|@eaDir|\.nfs[0-9a-f]+",
    re.IGNORECASE,
)
ASIDE, MOVED = ".oscine-replaced-", "moved.json"

logger = logging.getLogger(__name__)


def is_litter(path: Path) -> bool:
    """Return whether a file is what desktops or network disks leave in a folder by themselves."""
    return LITTER.fullmatch(path.name) is not None


def is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing, or only what desktops leave."""
    return not any(folder.glob(f"{ASIDE}*/{MOVED}")) and not any(
        True for child in folder.iterdir() for _ in _files(child)
    )


def remove_empty(folder: Path) -> None:
    """Delete a folder that holds nothing, or only what desktops leave; an error where it holds more by now."""
    for child in folder.iterdir():
        if is_litter(child):
            remove(child)
    folder.rmdir()


def check_own(paths: Iterable[Path], below: Path, own: re.Pattern[str], writer: str) -> None:
    """Raise where something else lies at or below the paths that a command would replace.

    own: matches paths relative to `below`, with slashes. A link to a folder counts as a file.
    """
    for file in (file for path in paths for file in _files(path)):
        if not own.fullmatch(file.relative_to(below).as_posix()):
            raise OscineError(
                f"{file} is none of the files that {writer} writes, and would be deleted; move it away or choose another "
                "name"
            )


def _files(path: Path) -> Iterator[Path]:
    """Yield what is at or below a path and is no folder, in the order of the names; an empty folder has none."""
    if is_litter(path) or path.name.startswith(ASIDE):
        return
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _files(child)
    elif os.path.lexists(path):
        yield path


def check_ours(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Raise where a file to replace is none that oscine writes, which `is_ours` tells; an empty one may go."""
    if path.exists() and not path.is_file():
        raise OscineError(f"{path} is no file, and is not replaced; choose another name")
    try:
        with path.open("rb") as file:
            ours = not file.read(1) or is_ours(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OscineError(
            f"{path} cannot be read ({error.strerror}), and is not replaced; choose another name"
        ) from None
    if not ours:
        raise OscineError(f"{path} was not written by oscine, and is not replaced; move it away or choose another name")


def has_fields(path: Path, fields: Iterable[str]) -> bool:
    """Return whether a file holds an object of JSON that has these fields."""
    try:
        content = read_json(path, "")
    except (OSError, OscineError):
        return False
    return isinstance(content, dict) and set(fields) <= content.keys()


class Replaced:
    """The files of a folder that new ones replace: moved into a folder of their own there, until the new ones stand.

    moved.json in it says of each whether it was there. While that file exists, the new ones do not stand yet: whoever is
    killed by then has lost nothing, and `settle` puts the earlier ones back. What cannot be deleted, since another program
    has it open, is left to the next call; each replacement has a folder of its own, so that nothing is mixed up.

    names: of the files and folders that are replaced, whether they are there or not.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder, self.names = folder, tuple(names)

    @property
    def aside(self) -> Path | None:
        """The folder that has the earlier files, until the new ones stand."""
        return next((record.parent for record in self.folder.glob(f"{ASIDE}*/{MOVED}")), None)

    def take(self) -> None:
        """Move what is there aside; where a killed call has moved it before, that is what is kept."""
        self.put_back()
        there = [name for name in self.names if os.path.lexists(self.folder / name)]
        if not there:
            return
        try:
            aside = Path(mkdtemp(prefix=ASIDE, dir=self.folder))
            write_whole(aside / MOVED, json.dumps({name: name in there for name in self.names}).encode())
            for name in there:
                (self.folder / name).rename(aside / name)
        except OSError as error:
            self.put_back()
            raise OscineError(
                f"{error.filename or self.folder} cannot be moved aside ({error.strerror}), and nothing is replaced; close "
                "what has it open, or make room"
            ) from None

    def put_back(self) -> bool:
        """Put the earlier files back, in place of what came there meanwhile; return whether there were any."""
        if not (aside := self.aside):
            self._sweep()
            return False
        try:
            for name, was_there in self._moved(aside).items():
                if os.path.lexists(aside / name):
                    # Only another oscine replaces what is not among these names.
                    if name not in self.names and os.path.lexists(self.folder / name):
                        raise OscineError(
                            f"{self.folder / name} is in the way of an earlier one; move it away: {_remedy(aside)}"
                        )
                    remove(self.folder / name)
                    (aside / name).rename(self.folder / name)
                elif name in self.names and not was_there:  # else it is back already, or was not moved yet
                    remove(self.folder / name)
            (aside / MOVED).unlink()
        except OSError as error:
            raise OscineError(
                f"{error.filename or self.folder} cannot be deleted or moved ({error.strerror}); {_remedy(aside)}"
            ) from None
        self._sweep()
        return True

    def discard(self) -> None:
        """Delete the earlier files: the new ones stand."""
        if aside := self.aside:
            try:
                (aside / MOVED).unlink()
            except OSError as error:
                raise OscineError(
                    f"{aside} cannot be deleted ({error.strerror}); delete it, the new files stand"
                ) from None
        self._sweep()

    def settle(self, stands: bool) -> None:
        """Delete the earlier files if the new ones stand, else put them back and say so.

        Where some were not moved yet, what stands is the earlier ones.
        """
        aside = self.aside
        if stands and aside:
            stands = all(os.path.lexists(aside / name) for name, was_there in self._moved(aside).items() if was_there)
        if stands:
            self.discard()
        elif self.put_back():
            logger.warning("%s holds again what was there before: what was to replace it was not finished", self.folder)

    def recover(self, stands: bool) -> None:
        """Settle what a killed call has left, unless another process is replacing these files at this moment."""
        if self.aside:
            with lock_output(self.folder, "choose another name"):
                self.settle(stands)

    def _moved(self, aside: Path) -> dict[str, bool]:
        """Return of each file that was to be moved whether it was there."""
        record = aside / MOVED
        content = check_fields(read_json(record, _remedy(aside)), {}, record, _remedy(aside))
        for name in content:  # whatever a later oscine replaces: what was moved comes back
            if Path(name).name != name or name in (".", ".."):
                raise OscineError(f"{record} names {name!r}, which is no file's; {_remedy(aside)}")
        return {name: bool(there) for name, there in content.items()}

    def _sweep(self) -> None:
        """Delete what nobody can want back; what another program has open goes with the next call."""
        for left in self.folder.glob(f"{ASIDE}*"):
            if not (left / MOVED).exists():
                shutil.rmtree(left, ignore_errors=True)


def _remedy(aside: Path) -> str:
    return f"what was there before is in {aside}; close what has it open and call again"


@contextmanager
def replacing(folder: Path, names: Iterable[str], last: str) -> Iterator[None]:
    """Move files aside for a block that writes the new ones: delete them once `last` is written, else put them back.

    last: of the names the file that the block writes at the end, whole or not at all. Once it is there the new ones stand,
    also for who recovers what a kill has left: no moment lies between their end and a mark that says so.
    """
    replaced = Replaced(folder, names)
    try:
        replaced.take()
        yield
    finally:
        replaced.settle((folder / last).exists())


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
