"""Features are standardised by the clips to choose from; who is judged changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.models.progress import NoBar
from oscine.probe.label.simulation.settings import SimulationSettings
from oscine.probe.label.simulation.views import Encoded, check_parts, prepare, read_encoders, view
from oscine.probe.tasks.task import Task


def test_prepared_features_are_standardised_and_of_the_length_that_is_asked_for():
    vectors = np.random.default_rng(0).normal(3, [1, 10, 0.1], (50, 3)).astype(np.float32)
    features, others = prepare(vectors, vectors[:5], None, 8.0)
    assert features.dtype == np.float64
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(features.std(0), features.std(0)[0])
    assert np.linalg.norm(features, axis=1).mean() == pytest.approx(8)
    np.testing.assert_allclose(others, features[:5])


def test_components_are_those_of_the_greatest_variance():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(60, 1))
    vectors = np.hstack([one, -one, one]) + 0.01 * rng.normal(size=(60, 3))
    features, _ = prepare(vectors, vectors, 1, 8.0)
    assert features.shape == (60, 1)
    assert abs(np.corrcoef(features[:, 0], one[:, 0])[0, 1]) > 0.999


def test_features_that_are_all_alike_are_refused():
    with pytest.raises(OscineError, match="nothing tells them apart"):
        prepare(np.ones((5, 3)), np.ones((2, 3)), None, 8.0)


def test_judged_clips_change_nothing_for_those_to_choose_from(settings, task: Task, encoded: Encoded):
    seen = view(settings, task, encoded.vectors, 0)
    changed = encoded.vectors.copy()
    changed[task.parts[0].test.numpy()] += 100
    np.testing.assert_array_equal(seen.features, view(settings, task, changed, 0).features)
    assert not set(seen.rows.tolist()) & set(task.parts[0].test.tolist())
    np.testing.assert_array_equal(seen.labels, task.targets.numpy()[seen.rows])


def test_the_order_of_a_table_tells_strategies_nothing(settings: SimulationSettings, task: Task, encoded: Encoded):
    """Of equal clips they take the first, and this table is sorted by class."""
    seen = view(settings, task, encoded.vectors, 0)
    assert sorted(seen.rows.tolist()) == sorted(task.parts[0].train.tolist())
    assert (np.diff(seen.labels) < 0).sum() > 5


def test_a_limit_draws_the_same_clips_for_all(settings: SimulationSettings, task: Task, encoded: Encoded):
    few = replace(settings, unlabelled=11)
    seen = view(few, task, encoded.vectors, 1)
    assert len(seen.rows) == 11
    np.testing.assert_array_equal(seen.rows, view(few, task, encoded.vectors * 2, 1).rows)


def test_encoders_go_by_the_names_of_their_tables(settings: SimulationSettings, task: Task, place: Path):
    both = replace(settings, embeddings=[place / "sharp.parquet", place / "dull.parquet"])
    found = read_encoders(both, task, NoBar())
    assert [*found] == ["sharp", "dull"]
    assert found["sharp"].model == "made_up"
    assert found["sharp"].vectors.shape == (len(task.rows), 12)
    assert found["sharp"].fingerprint != found["dull"].fingerprint


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            {"batches": 20},
            "fold 1 has 30 clips to choose from, and 3 with 20 batches of 2 are 43; --batches 13 at most",
        ),
        ({"initial": 40}, "are 46; take fewer with --initial and --batch"),
        ({"unlabelled": 5}, "fold 1 has 5 clips to choose from"),
        ({"components": 13}, "sharp has 12 components at most in 30 clips of 12 numbers, --components asks for 13"),
    ],
)
def test_too_few_clips_or_numbers_are_refused(settings, task: Task, encoded: Encoded, given, complaint):
    with pytest.raises(OscineError, match=complaint):
        check_parts(replace(settings, **given), task, {"sharp": encoded})
