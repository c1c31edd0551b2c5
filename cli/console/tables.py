"""Tables on standard output: on a terminal as wide as that, elsewhere (a pipe, a file) as wide as they need to be."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oscine.models.words import escape_controls

WIDE = 1000  # more than any table needs


def show(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=WIDE).measure(table).maximum)
    console.print(table)


def plain(text: str) -> Text:
    """A cell with the text of others: nothing of it is markup, or steers the terminal."""
    return Text(escape_controls(text))
