"""YAML that a stranger may have written: whatever is wrong with it is one error that names the file."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

import yaml

from oscine.cli.command import Misuse
from oscine.models.json_text import one_line

DEEPEST = 20  # settings nest three deep
MOST = 1_000_000  # values; what an alias names counts as often as it is named
# What PyYAML raises beside its own errors: for a date such as 2024-02-31, a bare !!int, 5,000 brackets.
NO_YAML = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def parse_yaml(text: bytes | str, source: object, remedy: str) -> dict[str, Any]:
    """Return what YAML holds, which must be keys with values. It makes plain values only, whatever its tags say.

    source, remedy: for the error, the file and what would do.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, *NO_YAML) as error:
        raise Misuse(f"{source} is no YAML: {one_line(error)}; {remedy}") from None
    if not isinstance(content, dict):
        raise Misuse(f"{source} holds {type(content).__name__}, expected keys with values; {remedy}")
    if is_too_large(content):
        raise Misuse(f"{source} is nested more than {DEEPEST} deep or holds more than {MOST:,} values; {remedy}")
    return content


def is_too_large(content: Any) -> bool:
    """Return whether content is nested too deep, or holds too many values, for whoever walks through it."""
    level, left = [content], MOST
    for _ in range(DEEPEST):
        level = list(islice(chain.from_iterable(map(_inside, level)), left))
        left -= len(level)
    return bool(level) or not left


def _inside(value: Any) -> list[Any]:
    """Return the keys and values that a value holds, as far as there are any."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, (list, tuple, set)) else []
