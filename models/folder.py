"""The folder of an encoder by its files: what is in it, and whether it can be an encoder's. No torch is needed to know."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from oscine import __version__
from oscine.models.errors import OscineError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SETTINGS = "settings.yaml"  # of the run that made an encoder
INSIDE = "encoder"  # where a run keeps its encoder


def encoder_folder(path: str | Path) -> Path:
    """The folder of an encoder: the one that is named, or `encoder` in it, as a run's has it."""
    folder = Path(path)
    return folder / INSIDE if (folder / INSIDE / CONFIG).is_file() and not (folder / CONFIG).is_file() else folder


def check_folder(folder: Path) -> None:
    """Raise what its files tell to be wrong with the folder of an encoder, short of reading its weights."""
    path = folder / CONFIG
    content = read_content(path)
    try:
        check_content(content)
    except OscineError as error:
        raise OscineError(f"{path}: {error}") from None
    check_weights(folder / WEIGHTS)


def check_weights(path: str | Path) -> None:
    """Raise where there is no file of weights."""
    if not Path(path).exists():
        raise OscineError(f"no weights at {path}")


def read_content(path: Path) -> Any:
    """What a config.json of this oscine, or an older one, holds: see `check_content`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"{error.strerror}: {CONFIG}"
        raise OscineError(
            f"no encoder in {path.parent} ({reason}); expected a folder with {CONFIG} and {WEIGHTS}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise OscineError(f"{path} is no JSON ({error}); save the encoder again") from None
    if isinstance(content, dict):
        check_version(content.get("oscine_version"), path)
    return content


def check_content(content: Any) -> None:
    """Raise where a config.json does not hold an architecture and its settings; which architecture is not looked at."""
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise OscineError("no 'architecture' with its 'config', as oscine saves them")


def check_version(version: object, path: object) -> None:
    """What a newer oscine wrote may mean something else under the same names; what names no version is older."""
    if release(str(version)) > release(__version__):
        raise OscineError(f"{path} is of oscine {str(version)[:20]}, this is {__version__}; update oscine")


def release(version: str) -> list[int]:
    """A version's numbers, to compare: 0.10.1.dev3 is [0, 10, 1]."""
    return [int(number) for number in re.findall(r"\d+", version[:99])[:3]]


def fits(value: object, kind: Any) -> bool:
    """Whether a value is what an annotation says, to the last part; an int will do for a float, a bool for neither."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in parts)
    if origin is list:
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    if kind in (int, float):  # finite, and not beyond what a float can be
        return isinstance(value, (int, kind)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, origin or kind)
