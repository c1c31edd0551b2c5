"""Open the page in this account's browser, without its key in a command line, which other accounts can read."""

from __future__ import annotations

import html
import logging
import os
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OPENS = "open_page.html"  # no hidden name: some browsers may read no hidden files

logger = logging.getLogger(__name__)


@contextmanager
def open_page(address: str, folder: Path) -> Iterator[None]:
    """Open an address by a file that leads there, which its owner alone can read, and which goes at the end."""
    path = folder.absolute() / OPENS
    target = html.escape(address)
    text = f'<!doctype html><meta http-equiv="refresh" content="0; url={target}"><a href="{target}">label clips</a>\n'
    try:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        webbrowser.open(path.as_uri())
    except OSError as error:
        logger.warning("%s cannot be written (%s); open the address by hand", path, error.strerror or error)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
