"""Tables on standard output: on a terminal as wide as that, elsewhere (a pipe, a file) as wide as they need to be."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

WIDE = 1000  # more than any table needs


def show(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=WIDE).measure(table).maximum)
    console.print(table)
