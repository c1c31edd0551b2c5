"""What oscine takes from huggingface_hub beyond what that documents, here alone: tested with 2.4.0, there in 1.9.2, too."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import _CACHED_NO_EXIST, file_download, metadata_load, repocard
from huggingface_hub.utils import _http as hub_http

httpx: Any = getattr(hub_http, "httpx2", None) or hub_http.httpx  # type: ignore[attr-defined]  # its name since 2.0, and before
KNOWN_TO_LACK = _CACHED_NO_EXIST  # what its cache remembers of a file that a repository has not
# How YAML names a value again; cards of models do not. With some PyYAMLs, 30 lines of it fill the memory.
ALIAS = re.compile(r"(?:^|[\s\[{,])\*\w", re.MULTILINE)
MOST_ALIASES = 10


def client_factory() -> Callable[[], Any]:
    """Return what makes the clients of huggingface_hub: its own function, or one that somebody has set."""
    return hub_http._GLOBAL_CLIENT_FACTORY


def leave_out_xet(applies: Callable[[], bool]) -> None:
    """Let huggingface_hub fetch over HTTP alone wherever `applies` says so; elsewhere as before."""
    before = file_download.is_xet_available
    if getattr(before, "left_out", False):
        return

    def is_xet_available() -> bool:
        return not applies() and before()

    is_xet_available.left_out = True  # type: ignore[attr-defined]
    file_download.is_xet_available = is_xet_available


def card_metadata(card: Path) -> dict[str, Any]:
    """Return what a card says in YAML, which here the Hub's client alone reads; a ValueError where it is none."""
    block = repocard.REGEX_YAML_BLOCK.search(card.read_text(encoding="utf-8-sig"))
    if block and len(ALIAS.findall(block[2])) > MOST_ALIASES:
        raise ValueError(f"its YAML names more than {MOST_ALIASES} values again")
    try:
        return metadata_load(card) or {}
    except (RecursionError, repocard.yaml.YAMLError) as error:
        raise ValueError(" ".join(str(error).split())) from error
