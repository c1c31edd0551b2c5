"""Read names of classes from a file, and check them, whatever they were read from."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from oscine.models.errors import OscineError
from oscine.models.files import did_you_mean
from oscine.models.json_text import shown

LONGEST_NAME = 1000


def read_class_list(path: Path, column: str = "") -> list[str]:
    """Read names of classes in their order: every line that is not empty, or the column of a table."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise OscineError(
            f"no names {path}; {did_you_mean(path, 'expected a text file of names, one a line')}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise OscineError(f"{path} cannot be read ({reason}); expected a text file of names, one a line") from None
    names = _column(lines, column, path) if column else [line.strip() for line in lines if line.strip()]
    if not names:
        raise OscineError(f"{path} has no names; expected a text file of names, one a line")
    return names


def _column(lines: Sequence[str], column: str, path: Path) -> list[str]:
    """Return a column of a table, whatever separates its cells."""
    try:
        for delimiter in ",;\t":
            rows = csv.DictReader(lines, delimiter=delimiter)
            if column in (rows.fieldnames or ()):
                return [(row[column] or "").strip() for row in rows]
    except csv.Error as error:
        raise OscineError(f"{path} is no table ({error}); expected one name of a class a line") from None
    raise OscineError(f"{path} has no column {column!r}; it begins with {shown(lines[0])}; give class_column")


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


def check_class_names(names: Sequence[str], source: object, remedy: str) -> None:
    """Raise where names cannot be those of classes. source, remedy: for the error, who has them and what would do."""
    if fault := fault_of(names):
        raise OscineError(f"{source} {fault}; {remedy}")
