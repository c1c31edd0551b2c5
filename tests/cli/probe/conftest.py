"""What the tests of `oscine probe` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.undrawn import leave_figures_undrawn


@pytest.fixture(scope="module", autouse=True)
def _leave_figures_undrawn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        leave_figures_undrawn(patched)
        yield
