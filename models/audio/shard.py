"""Share recordings among several jobs, by their names alone."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from oscine.models.errors import OscineError

MOST_SHARDS = 100_000


class Shard(NamedTuple):
    """One of several jobs that share a folder or a list, counted from 1. A recording's name alone decides whose it is."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, name: str) -> bool:
        return zlib.crc32(name.encode()) % self.of == self.number - 1


ALL = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """Parse a shard: "2/8" is the second of eight."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS:
        raise OscineError(
            f"shard {text[:40]!r}: expected NUMBER/OF with numbers from 1 to {MOST_SHARDS}, such as 1/8 to 8/8"
        )
    return Shard(int(match[1]), int(match[2]))
