"""The benchmark's plain versions choose what strategies choose; all strategies stay below a bound of memory."""

from __future__ import annotations

import re
import sys

import label as benchmark
import pytest

from oscine.probe.label import list_strategies
from tests.forked import FORK

GB = 1e9


@pytest.mark.parametrize("name", ["badge", "bait"])
def test_the_plain_version_chooses_the_same_clips(name: str) -> None:
    state = benchmark.state_of(300, 12, 4)
    chosen = benchmark.ours(name, state, 9)
    assert benchmark.PLAIN[name](name, state, 9).tolist() == chosen.tolist()


def test_a_line_a_strategy_says_seconds_memory_and_how_much_slower_the_plain_version_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark.multiprocessing, "get_context", lambda _: FORK)
    benchmark.label(clips=400, dim=40, classes=3, k=5, only=["margin", "badge"])
    first, margin, badge = capsys.readouterr().out.splitlines()
    assert first == "400 clips of 40 numbers, 3 classes, 100 labelled, 5 to choose, float64"
    assert re.fullmatch(r"margin +\d+\.\d\d s +\d+ MiB", margin)
    assert re.fullmatch(r"badge .* MiB; plain \d+\.\d\d s \d+ MiB, ratio \S+, the same clips", badge)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's peak begins with its parent's")
@pytest.mark.parametrize("name", list_strategies())
def test_20000_clips_of_768_numbers_take_less_than_2_gb(name: str) -> None:
    seconds, memory, chosen = benchmark.measured(benchmark.ours, name, (20_000, 768, 10), 20)
    assert len({*chosen}) == 20
    assert 0.2 * GB < memory < 2 * GB  # features alone are 0.12
    assert seconds > 0
