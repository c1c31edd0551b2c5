"""Read and write YAML, also a stranger's: what is wrong with it is one error that names the file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from oscine.models.errors import Misuse
from oscine.models.json_text import one_line

DEEPEST = 20  # settings nest three deep
MOST = 1_000_000  # values; what an alias names counts as often as it is named
# What PyYAML raises beside its own errors: for a date such as 2024-02-31, a bare !!int, 5,000 brackets.
NO_YAML = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def parse_yaml(text: bytes | str, source: object, remedy: str, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return what YAML holds, which must be keys with values. It makes plain values only, whatever its tags say.

    source, remedy: for the error, the file and what would do. may_be_empty: nothing, or comments alone, is {}.
    """
    try:
        loader = yaml.SafeLoader(text)
        # What was written is counted before values are made of it: a mapping that is merged (<<) is copied by many PyYAMLs.
        node = loader.get_single_node()
        small = node is None or not is_too_large(node)
        content = loader.construct_document(node) if node and small else None
    except (yaml.YAMLError, *NO_YAML) as error:
        raise Misuse(f"{source} is no YAML: {one_line(error)}; {remedy}") from None
    if not small:
        raise Misuse(f"{source} is nested more than {DEEPEST} deep or holds more than {MOST:,} values; {remedy}")
    if content is None and may_be_empty:
        return {}
    if not isinstance(content, dict):
        held = "nothing" if content is None else type(content).__name__
        raise Misuse(f"{source} holds {held}, expected keys with values; {remedy}")
    return content


def read_yaml(path: Path, remedy: str) -> dict[str, Any]:
    """Return what a file of YAML holds."""
    try:
        return parse_yaml(path.read_bytes(), path, remedy)
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}") from None


def as_yaml(content: dict[str, Any]) -> str:
    """Write plain values as YAML, in the order that they have."""
    return yaml.safe_dump(content, sort_keys=False)


def is_too_large(node: yaml.Node) -> bool:
    """Return whether YAML is nested too deep, or holds too many values, for whoever walks through them."""
    level, left = [node], MOST
    for _ in range(DEEPEST):
        level = list(islice(chain.from_iterable(map(_inside, level)), left))
        left -= len(level)
    return bool(level) or not left


def _inside(node: yaml.Node) -> Iterable[yaml.Node]:
    """Return the nodes of the keys and values that a node holds, as far as there are any."""
    if isinstance(node, yaml.MappingNode):
        return chain.from_iterable(node.value)
    return node.value if isinstance(node, yaml.SequenceNode) else ()
