"""Numbers with their nouns, as a person reads them."""

from __future__ import annotations


def counted(number: int, noun: str, many: str = "") -> str:
    """Return a number and its noun: 1 clip, 2 clips. many: the noun where it takes more than an s."""
    return f"{number} {noun if number == 1 else many or noun + 's'}"
