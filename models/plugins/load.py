"""Import other people's modules where a command line or an installed package allows it, and nowhere else.

A name in a YAML, in a config.json or in a repository imports nothing: it finds what has been allowed, or is an error.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from site import getsitepackages
from types import ModuleType

from oscine.models.errors import Misuse, OscineError
from oscine.models.files import did_you_mean
from oscine.models.json_text import one_line

FLAG = "--plugin FILE.py or --plugin MODULE"
GROUP = "oscine.plugins"  # of the entry points by which installed packages offer modules

logger = logging.getLogger(__name__)
allowed: dict[str, ModuleType] = {}  # what was, by the name under which it is imported
# Where the code of oscine, of Python and of libraries lies.
NOT_THEIRS = (Path(__file__).parents[2], Path(os.__file__).parent, *map(Path, getsitepackages()))


def allow_plugin(named: str) -> ModuleType:
    """Import FILE.py or MODULE, whose classes can then be named like oscine's own.

    mine.py is imported as `mine`, from its folder, which becomes the last one on sys.path. So a process that is started
    finds it, too: spawn and forkserver hand sys.path on, and a process for each device is given the same command line.
    """
    path = Path(named)
    if named.endswith(".py") or path.is_dir() or os.sep in named:
        return _import(_name_of_file(path), named)
    if _is_missing(named):
        there = path.with_suffix(".py").is_file()
        meant = (
            f"did you mean --plugin {named}.py?" if there else "give a FILE.py, or a MODULE that Python can import here"
        )
        raise Misuse(f"no module {named!r}; {meant}")
    return _import(named, named)


def offered_modules() -> Iterator[ModuleType]:
    """Import what installed packages offer, one after the other, each named in a line; not what is here already."""
    for offer in sorted(entry_points(group=GROUP), key=lambda offer: offer.name):
        if offer.module not in allowed:
            yield _import_offer(offer)


def offered_module(name: str) -> ModuleType | None:
    """Import the module of that name if an installed package offers it, named in a line."""
    offer = next((offer for offer in entry_points(group=GROUP) if offer.module == name), None)
    return offer and _import_offer(offer)


def place_of(error: BaseException) -> str:
    """Say where in other people's code an error arose, in brackets; "" where none of it was running."""
    places = [(Path(one.filename), one.lineno) for one in traceback.extract_tb(error.__traceback__)]
    own = [(file.name, line) for file, line in places if not any(map(file.is_relative_to, NOT_THEIRS))]
    own = [place for place in own if not place[0].startswith("<")]  # such as <frozen importlib._bootstrap>
    return f" ({own[-1][0]}, line {own[-1][1]})" if own else ""


def _import_offer(offer: EntryPoint) -> ModuleType:
    by = f"{offer.dist.name} {offer.dist.version}" if offer.dist else "an installed package"
    logger.info("loading the plugin %s, which %s offers", offer.module, by)
    return _import(offer.module, offer.module)


def _import(name: str, shown: str) -> ModuleType:
    try:
        module = import_module(name)
    except OscineError as error:
        raise OscineError(f"the plugin {shown}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever its author has written
        reason = f"{type(error).__name__}: {one_line(error)}{place_of(error)}"
        raise OscineError(f"the plugin {shown} cannot be imported: {reason}") from error
    allowed[name] = module
    return module


def _name_of_file(path: Path) -> str:
    """Make a file's folder known and return the name to import; refuse a name that another module has."""
    if not path.is_file() or path.suffix != ".py":
        what = "is a folder" if path.is_dir() else "is no Python file" if path.exists() else "does not exist"
        raise Misuse(
            f"--plugin {path} {what}; {did_you_mean(path, 'expected FILE.py, or a MODULE that Python can import')}"
        )
    name, path = path.stem, path.resolve()
    if not name.isidentifier():
        raise Misuse(
            f"--plugin {path.name} is imported by its name, and no module can be called {name!r}; rename the file"
        )
    there = _file_of(name)
    if there is None:
        sys.path.append(str(path.parent))
        invalidate_caches()
        there = _file_of(name)
    if there != path:
        raise Misuse(f"--plugin {path.name} is imported as {name}, which is another module, {there}; rename the file")
    return name


def _file_of(name: str) -> Path | str | None:
    """Return the file that a name is imported from; None where there is none."""
    try:
        spec = find_spec(name)
    except ValueError:  # such as __main__
        return "one that runs"
    if spec is None or (spec.origin is None and spec.loader is None):  # a folder of that name is no module
        return None
    return Path(spec.origin).resolve() if spec.has_location and spec.origin else str(spec.origin)


def _is_missing(name: str) -> bool:
    try:
        return find_spec(name) is None
    except ModuleNotFoundError as error:
        return error.name is None or name.startswith(error.name)
    except (ImportError, ValueError):
        return not all(part.isidentifier() for part in name.split("."))
