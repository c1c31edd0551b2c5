"""ProbCover takes what the reference takes; its radius is the largest at which balls are pure."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label import State, choose
from oscine.probe.label.geometry import cluster, nearest_distances, unit_rows
from oscine.probe.label.strategies.probcover import most_covering, pure_radius, reached_by, to_other_clusters


@pytest.fixture
def state(query) -> State:
    labelled = query["typiclust.labelled"]
    return State(query["typiclust.phi"], None, labelled, np.zeros(4), np.setdiff1d(np.arange(120), labelled))


def test_picks_degrees_and_coverage_are_those_of_the_reference(query, state, generator):
    radius = query["probcover.delta"].item()
    chosen = choose("probcover", state, 5, generator, radius=radius)
    assert chosen.tolist() == query["probcover.picks"].tolist()
    rows = unit_rows(state.features)
    for count in range(5):
        there = np.concatenate([state.labelled, chosen[:count]])
        left = nearest_distances(rows, rows[there]) >= radius**2
        degrees = reached_by(rows, rows[left], radius)
        degrees[there] = -1
        assert degrees.tolist() == query["probcover.degrees"][count].tolist()
    covered = nearest_distances(rows, rows[np.concatenate([state.labelled, chosen])]) < radius**2
    assert covered.mean() == pytest.approx(query["probcover.coverage"].item())


def test_purity_is_that_of_the_reference(query):
    squares = to_other_clusters(unit_rows(query["typiclust.phi"]), query["probcover.purity_clusters"])
    purity = [(squares >= radius**2).mean() for radius in query["probcover.purity_deltas"]]
    np.testing.assert_allclose(purity, query["probcover.purity"], rtol=0, atol=1e-9)


def test_no_larger_radius_is_as_pure(generator):
    rows = unit_rows(np.random.default_rng(3).normal(size=(200, 5)))
    radius = pure_radius(rows, 4, np.random.default_rng(1))
    numbers, _ = cluster(rows, 4, np.random.default_rng(1))
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)

    def purity(radius: float) -> float:
        return float(np.mean([len({*numbers[near]}) == 1 for near in apart < radius]))

    assert purity(radius) >= 0.95
    assert purity(radius * (1 + 1e-6)) < 0.95


def test_where_all_is_covered_coreset_goes_on(state, generator):
    """A radius so wide that one ball holds all."""
    rest = choose("probcover", state, 5, generator, radius=2.1).tolist()
    assert rest == choose("coreset", state, 5, generator, unit=True).tolist()
    empty = State(state.features, None, [], [], range(120))
    first, *others = choose("probcover", empty, 4, generator, radius=2.1)
    assert first == 0  # all reach all
    after = State(state.features, None, [0], [0], range(1, 120))
    assert others == choose("coreset", after, 3, generator, unit=True).tolist()


def test_a_clip_that_was_taken_is_never_taken_again():
    rows = unit_rows(np.random.default_rng(0).normal(size=(60, 3)))
    chosen = most_covering(rows, np.ones(60, dtype=bool), 60, radius=0.2)
    assert len({*chosen}) == len(chosen)
    assert (nearest_distances(rows, rows[chosen]) < 0.2**2).all()


def test_without_classes_or_with_a_radius_that_is_none_it_is_refused(state, generator):
    nothing = State(state.features, None, [], [], range(120))
    with pytest.raises(
        OscineError, match=r"^probcover chooses its radius by how many classes there are; give classes=, or radius="
    ):
        choose("probcover", nothing, 3, generator)
    assert len(choose("probcover", nothing, 3, generator, classes=4)) == 3
    with pytest.raises(OscineError, match=r"^radius of probcover is 0, expected above 0"):
        choose("probcover", state, 3, generator, radius=0)
