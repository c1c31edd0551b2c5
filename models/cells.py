"""Texts of others in what people open: no cell is run by a spreadsheet, no character steers a terminal.

`as_cell` and `from_cell` are each other's inverse, so that a table of ours is read back as it was meant.
"""

from __future__ import annotations

import re

# C0 (tab, line ends, escape), delete and C1; and halves of a pair, as which Python holds bytes of a name that are no UTF-8.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
WRITTEN = re.compile(
    r"\\x([01][0-9a-f]|7f|[89][0-9a-f]|5c)"
)  # how CONTROL is written, and a backslash that would look so
RUN = "=+-@＝＋－＠"  # how a cell begins that a spreadsheet may run; it reads the wide ones as the others


def escape_controls(text: str) -> str:
    r"""Write characters that steer a terminal or break a row as \x1b, a byte that is no UTF-8 as \xe4."""
    plain = WRITTEN.sub(lambda found: rf"\x5cx{found[1]}", text)
    return CONTROL.sub(lambda found: rf"\x{ord(found[0]) & 0xFF:02x}", plain)


def escape_lines(text: str) -> str:
    """The same of a text for a terminal, whose own line ends stay."""
    return "\n".join(map(escape_controls, text.split("\n")))


def restore_controls(text: str) -> str:
    """Undo `escape_controls`, but for bytes that are no UTF-8."""
    return WRITTEN.sub(lambda found: chr(int(found[1], 16)), text)


def as_cell(text: str) -> str:
    """Write a text for a CSV that people open, with an apostrophe before what a spreadsheet would run.

    Parts between semicolons are guarded each: a spreadsheet that divides columns there makes cells of them.
    """
    return ";".join(f"'{part}" if _is_run(part) else part for part in escape_controls(text).split(";"))


def from_cell(cell: str) -> str:
    """Read what `as_cell` wrote; other cells are as they are."""
    return restore_controls(unguarded(cell))


def unguarded(cell: str) -> str:
    """Take away the apostrophes of `as_cell` and nothing else: in a path of Windows, \\x1b is a folder."""
    return ";".join(part[1:] if part.startswith("'") and _is_run(part[1:]) else part for part in cell.split(";"))


def _is_run(part: str) -> bool:
    """Return whether a spreadsheet may run a text; one that only looks guarded counts, to be told from one that is."""
    bare = part.lstrip("'")
    return bool(bare) and bare[0] in RUN and not _is_number(bare)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", text) is not None
