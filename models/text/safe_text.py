"""Write texts for people so that they steer no terminal and no spreadsheet runs them.

`as_cell` and `from_cell` are each other's inverse, so that a table of ours is read back as it was meant.
"""

from __future__ import annotations

import re

# C0 (tab, line ends, escape), delete and C1; halves of a pair, as which Python holds bytes of a name that are no UTF-8; and
# what nobody sees: it ends a line, turns letters round, or parts two names that look the same. The joiners U+200C and
# U+200D stay, without which Persian and Hindi are not spelt.
CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
# How CONTROL is written, and a backslash that would look so.
WRITTEN = re.compile(
    r"\\(?:x([01][0-9a-f]|7f|[89][0-9a-f]|5c)|u(00ad|061c|180e|200[bef]|202[89a-e]|206[0-9a-f]|feff|fff[9ab])"
    r"|U(0001bca[0-3]|0001d17[3-9a]|000e00(?:01|[2-7][0-9a-f])))"
)
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
RUN = "=+-@＝＋－＠"  # how a cell begins that a spreadsheet may run; it reads the wide ones as the others


def escape_controls(text: str) -> str:
    r"""Write characters that steer a terminal or break a row as \x1b or \u2028, a byte that is no UTF-8 as \xe4."""
    plain = WRITTEN.sub(lambda found: rf"\x5c{found[0][1:]}", text)
    return CONTROL.sub(lambda found: _written(found[0]), plain)


def _written(letter: str) -> str:
    code = ord(letter)
    if code < 0xA0 or 0xD800 <= code < 0xE000:
        return rf"\x{code & 0xFF:02x}"
    return rf"\u{code:04x}" if code < 0x10000 else rf"\U{code:08x}"


def escape_lines(text: str) -> str:
    """Write those characters so in a text for a terminal, whose own line ends stay."""
    return "\n".join(map(escape_controls, text.split("\n")))


def restore_controls(text: str) -> str:
    """Undo `escape_controls`, but for bytes that are no UTF-8."""
    return WRITTEN.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), text)


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
    return bool(bare) and bare[0] in RUN and not NUMBER.fullmatch(bare)
