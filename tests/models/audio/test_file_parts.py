"""Of a file little is read to tell it from another."""

from __future__ import annotations

import io
from typing import Any

import pytest

from oscine.models.files import ENDS, ends


class Counting(io.BytesIO):
    """Notes how many bytes are read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.count += len(content)
        return content


@pytest.mark.parametrize("size", [0, 1, ENDS, ENDS + 1, 2**20])
def test_both_ends_tell_one_file_from_another(size: int) -> None:
    known: dict[str, Any] = {}
    for place in (None, 0, ENDS - 1, size - ENDS, size - 1):
        content = bytearray(size)
        if place is not None and 0 <= place < size:
            content[place] = 1
        file = Counting(content)
        known.setdefault(ends(file), bytes(content))
        assert file.count <= 2 * ENDS
        assert known[ends(io.BytesIO(content))] == content
