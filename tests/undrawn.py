"""Pages whose figures are empty: drawing one takes longer than a small run; tests/probe/report has every figure drawn."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure


def leave_figures_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
