"""Names instead of places: what is published says what a file is called, not where it lay on this machine."""

from __future__ import annotations

import re
from typing import Any

# A path from the root, from a home or from above, also by way of below, or behind the word for a saved encoder or a
# file; here or on Windows.
PLACE = re.compile(
    r"(local-dir:)?(?:file://)?(?:(?:~[^/\\]*|\.\.|[A-Za-z]:)?[/\\]|(?:[^/\\]+[/\\])+\.\.(?:[/\\]|$)).*", re.DOTALL
)


def without_places(value: Any) -> Any:
    """JSON's or YAML's values with every path that leads out of the current folder cut down to its last part."""
    if isinstance(value, dict):
        return {key: without_places(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_places(one) for one in value]
    place = PLACE.fullmatch(value) if isinstance(value, str) else None
    return (place[1] or "") + re.split(r"[/\\]", place[0].rstrip("/\\"))[-1] if place else value
