"""Check names of classes, whatever they were read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from oscine.models.errors import OscineError
from oscine.models.json_text import shown

LONGEST_NAME = 1000


def is_name(name: str) -> bool:
    """Return whether a class can have a name: some letters, and none that only half of a pair of UTF-16 is."""
    return 0 < len(name.strip()) <= LONGEST_NAME and not any("\ud800" <= letter <= "\udfff" for letter in name)


def fault_of(names: Sequence[str]) -> str:
    """Say what keeps names from being those of classes, and what was expected; "" where nothing does."""
    if not names:
        return "has no names, expected one at least"
    if (wrong := next((name for name in names if not is_name(name)), None)) is not None:
        return f"has the name {shown(wrong)}, expected 1 to {LONGEST_NAME} letters that can be written"
    name, times = Counter(names).most_common(1)[0]
    return f"has the name {shown(name)} {times} times, expected each class once" if times > 1 else ""


def check_classes(names: Sequence[str], source: object, remedy: str) -> None:
    """Raise where names cannot be those of classes. source, remedy: for the error, who has them and what would do."""
    if fault := fault_of(names):
        raise OscineError(f"{source} {fault}; {remedy}")
