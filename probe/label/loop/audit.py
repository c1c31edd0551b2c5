"""Draw the clips that are judged by: a uniform sample of all clips, whatever strategies choose."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator

import numpy as np

from oscine.probe.label.journal import Clip
from oscine.probe.label.loop.clips import ClipTable


def random_place(seed: int, what: str, clip: Clip) -> float:
    """Return a clip's random number in [0, 1): the same in every call, and in a table that has grown meanwhile."""
    text = f"{seed}\0{what}\0{clip.recording}\0{clip.start!r}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / 2**56


def audit_order(table: ClipTable, seed: int) -> np.ndarray:  # [clips]
    """Return all clips in the one random order by whose beginning everything is judged."""
    return np.argsort([random_place(seed, "audit", clip) for clip in table.clips], kind="stable")


def next_of_order(order: np.ndarray, passed_over: Container[int]) -> Iterator[int]:
    """Yield the next clips of an order that have no answer yet; those with one count already, and cost nothing."""
    return (int(number) for number in order if number not in passed_over)


def audited(order: np.ndarray, answered: Container[int], gone: Container[int] = ()) -> list[int]:
    """Return the clips that stand at the beginning of the order without a gap; what cannot be asked for is no gap."""
    found = []
    for number in order:
        if number in answered:
            found.append(int(number))
        elif number not in gone:
            break
    return found
