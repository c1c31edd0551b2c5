"""The benchmark compares steps that do the same, of which ours needs less memory."""

from __future__ import annotations

import re

import probe_step as benchmark
import pytest

from tests.forked import FORK


def test_both_ways_have_the_same_gradients_and_another_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert benchmark.gradients_apart(200, "cpu") < 1e-9
    ours = benchmark.tiled_min_max
    monkeypatch.setitem(benchmark.WAYS, "ours", lambda patches, prototypes: 1.001 * ours(patches, prototypes))
    assert benchmark.gradients_apart(200, "cpu") > 1e-6


def test_our_step_needs_a_fraction_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With narrow features; each way in a process of its own, whose peak of memory is not that of the tests before."""
    monkeypatch.setattr(benchmark, "DIM", 192)
    monkeypatch.setattr(benchmark, "get_context", lambda _: FORK)
    benchmark.probe_step(clips=16, prototypes=6000, rounds=1)
    said = capsys.readouterr().out
    assert said.startswith("16 clips, 6000 prototypes, 1 threads, cpu: a step ")
    (found,) = re.findall(r"peak memory (\d+) MiB against (\d+) MiB, ratio ([\d.]+)", said)
    ours, plain, ratio = map(float, found)
    assert ours > 0
    assert ratio == pytest.approx(plain / ours, rel=0.05)
    assert ratio > 3, "what both need for the prototypes themselves is a third of ours"
    (apart,) = re.findall(r"gradients in float64 differ by (\S+) of the greatest", said)
    assert float(apart) < 1e-9
