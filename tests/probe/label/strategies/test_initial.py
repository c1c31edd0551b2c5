"""Initial sets are typical, spread or random clips; the default of a kind of task has its reason."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label import default_strategy, initial_set, list_strategies
from oscine.probe.label.strategies.initial import DEFAULTS, INITIAL_SETS


@pytest.mark.parametrize("name", INITIAL_SETS)
@pytest.mark.parametrize("k", [1, 5, 60, 100])
def test_k_different_clips_come_the_same_twice(name: str, k: int) -> None:
    features = np.random.default_rng(0).normal(size=(60, 4))
    chosen = initial_set(name, features, k, np.random.default_rng(1))
    assert len({*chosen.tolist()}) == len(chosen) == min(k, 60)
    assert chosen.tolist() == initial_set(name, features, k, np.random.default_rng(1)).tolist()


@pytest.mark.parametrize("name", ["typiclust", "kmeans"])
def test_of_groups_that_lie_apart_each_gives_a_clip(name: str) -> None:
    rng = np.random.default_rng(0)
    centres = 50 * rng.normal(size=(6, 8))
    features = centres.repeat(20, axis=0) + rng.normal(size=(120, 8))
    for seed in range(3):
        chosen = initial_set(name, features, 6, np.random.default_rng(seed))
        assert sorted(chosen // 20) == list(range(6))


def test_kmeans_takes_the_clip_nearest_to_the_mean_where_it_takes_one() -> None:
    features = np.array([[0.0], [4.0], [5.0], [11.0]])
    assert initial_set("kmeans", features, 1, np.random.default_rng(0)).tolist() == [2]


@pytest.mark.parametrize("name", INITIAL_SETS)
def test_equal_clips_are_taken_once_each(name: str) -> None:
    assert sorted(initial_set(name, np.ones((9, 2)), 9, np.random.default_rng(0))) == list(range(9))


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(
        OscineError, match=r"^no initial set 'kmean'; expected one of random, typiclust, kmeans, coreset"
    ):
        initial_set("kmean", np.ones((3, 1)), 1, np.random.default_rng(0))


@pytest.mark.parametrize("several", DEFAULTS)
def test_the_default_is_there_and_its_reason_is_a_line(several: bool) -> None:
    default = default_strategy(several)
    assert default.initial in INITIAL_SETS
    assert default.strategy in list_strategies()
    assert "\n" not in default.reason
