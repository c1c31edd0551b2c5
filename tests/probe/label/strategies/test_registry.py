"""Strategies are found by name, oscine's and one's own, and what one's own chooses is checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.models.plugins.load import allow_plugin
from oscine.probe.label import State, choose, list_strategies, register_strategy
from oscine.probe.label.strategies.registry import OURS, STRATEGIES, needs

PLUGIN = """
def loudest(state, k, generator, *, column=0):
    return state.candidates[(-state.of_candidates("features")[:, column]).argsort()[:k]]
"""


@pytest.fixture(autouse=True)
def here(door: Iterator[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def state() -> State:
    features = np.array([[0.0, 5], [1, 4], [2, 3], [3, 2]])
    return State(features, None, np.array([0]), np.array([1]), np.array([1, 2, 3]))


def test_the_name_of_a_strategy_is_that_of_its_function() -> None:
    assert [STRATEGIES[name].__name__ for name in OURS] == [*OURS]


def test_a_strategy_of_ones_own_is_registered_and_chooses(state: State, generator: np.random.Generator) -> None:
    @register_strategy
    def last(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
        return state.candidates[::-1][:k]

    assert list_strategies()[-1] == "last"
    assert choose("last", state, 2, generator).tolist() == [3, 2]
    assert needs("last") == ()
    with pytest.raises(OscineError, match=r"^last has no setting first; it has none$"):
        choose("last", state, 2, generator, first=True)


def test_a_plugin_brings_one(state: State, generator: np.random.Generator) -> None:
    Path("wrens.py").write_text(PLUGIN)
    allow_plugin("wrens.py")
    assert choose("wrens:loudest", state, 2, generator).tolist() == [3, 2]
    assert choose("loudest", state, 2, generator, column=1).tolist() == [1, 2]
    with pytest.raises(OscineError, match=r"^loudest has no setting colum; did you mean column"):
        choose("loudest", state, 2, generator, colum=1)


def test_a_name_of_oscines_own_is_refused() -> None:
    def margin(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
        return state.candidates[:k]

    with pytest.raises(OscineError, match=r"^margin is oscine's own strategy; call that of .* otherwise"):
        register_strategy(margin)


@pytest.mark.parametrize("chosen", [[1], [1, 1], [0, 1], [1, 9], []])
def test_what_are_not_so_many_different_candidates_is_refused(
    chosen: list[int], state: State, generator: np.random.Generator
) -> None:
    def mine(state: State, k: int, generator: np.random.Generator) -> list[int]:
        return chosen

    register_strategy(mine)  # type: ignore[arg-type]
    with pytest.raises(OscineError, match=r"^the strategy mine chose \[.*\], expected 2 different candidates"):
        choose("mine", state, 2, generator)


def test_a_name_that_there_is_not_is_refused_with_those_there_are(state: State, generator: np.random.Generator) -> None:
    with pytest.raises(
        OscineError, match=r"^no strategy 'entropie'; did you mean entropy\? expected one of random, margin, .*--plugin"
    ) as raised:
        choose("entropie", state, 2, generator)
    assert "lci" not in str(raised.value)
