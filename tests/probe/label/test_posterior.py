"""The posterior of a last map equals the reference's and what is computed directly, however often it is updated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import expit, softmax

from oscine.models.errors import OscineError
from oscine.probe.label.posterior import LastLayerLaplace, exact_covariance, input_rows

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "label_laplace.safetensors"


@pytest.fixture(scope="module")
def one() -> dict[str, np.ndarray]:
    return {name[4:]: array for name, array in load_file(GOLDEN).items() if name.startswith("one.")}


@pytest.fixture(scope="module")
def several() -> dict[str, np.ndarray]:
    return {name[8:]: array for name, array in load_file(GOLDEN).items() if name.startswith("several.")}


def features(golden: dict[str, np.ndarray], rows: str) -> np.ndarray:
    """Without the 1, which the posterior appends."""
    return golden["phi"][golden[rows]][:, :-1]


def posterior(golden: dict[str, np.ndarray], **settings: object) -> LastLayerLaplace:
    given = {"weight": golden["weight"], "several": golden["y"].ndim == 2, **settings}
    return LastLayerLaplace(features(golden, "labelled"), golden["y"][golden["labelled"]], **given)


def same(found: np.ndarray, wanted: np.ndarray, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


def test_the_last_map_is_refitted_on_rows_of_length_one(one, several):
    for golden in (one, several):
        same(posterior(golden, weight=None, penalty=1.0).weight, golden["weight"], atol=1e-7)


def test_precision_covariance_and_predictions_are_the_references(one):
    made = posterior(one)
    same(made.precision[0], one["precision"])
    same(made.covariance[0], one["covariance"])
    pool = features(one, "pool")
    same(made.logits(pool), one["pool_logits"])
    same(made.variance(pool), np.repeat(one["pool_variance"][:, None], 4, axis=1))
    same(made.mean_field_logits(pool), one["pool_mean_field_logits"])
    same(made.probabilities(pool), softmax(one["pool_mean_field_logits"], axis=1))


def test_categorical_counts_clips_by_their_likeliest_class(one):
    made = posterior(one, form="categorical")
    same(made.precision[0], one["categorical.precision"])
    same(made.covariance[0], one["categorical.covariance"])


@pytest.mark.parametrize("gamma", [1, 5, 10])
def test_updates_one_by_one_are_the_references(one, gamma):
    new = posterior(one, gamma=gamma).updated(features(one, "new"), one["y"][one["new"]])
    same(new.covariance[0], one["updated.covariance"])
    same(new.weight, one[f"updated.weight.gamma{gamma}"])


@pytest.mark.parametrize("gamma", [1, 5])
def test_updates_with_several_labels_are_the_references(several, gamma):
    made = posterior(several, gamma=gamma)
    same(made.covariance[0], several["shared.covariance"])
    same(made.variance(features(several, "pool"))[:, 0], several["shared.pool_variance"])
    new = made.updated(features(several, "new"), several["y"][several["new"]])
    same(new.covariance[0], several["shared.updated.covariance"])
    same(new.weight, several[f"shared.updated.weight.gamma{gamma}"])


def test_a_block_a_class_is_the_references(several):
    made = posterior(several, form="per_class", prior=1.0)
    same(made.covariance, several["per_class.covariance"])
    pool = features(several, "pool")
    same(made.variance(pool), several["per_class.pool_variance"])
    same(made.probabilities(pool), several["per_class.pool_mean_field_probs"])
    new = made.updated(features(several, "new"), several["y"][several["new"]])
    same(new.covariance, several["per_class.updated.covariance"])
    same(new.weight, several["per_class.updated.weight"])


def test_the_exact_covariance_is_the_references(one):
    made = exact_covariance(features(one, "labelled"), one["weight"])
    wanted = load_file(GOLDEN)["several.exact_softmax.covariance"]
    same(made, wanted)
    with pytest.raises(OscineError, match="3000 rows, 2000 at most"):
        exact_covariance(np.ones((2, 299)), np.ones((10, 300)))


@pytest.mark.parametrize("form", ["shared", "categorical", "per_class"])
def test_a_thousand_updates_drift_by_less_than_a_hundred_millionth(form):
    generator = np.random.default_rng(0)
    rows, labels = generator.normal(size=(1030, 20)), generator.integers(0, 4, 1030)
    made = LastLayerLaplace(rows[:30], labels[:30], classes=4, form=form)
    for first in range(30, 1030, 50):
        made = made.updated(rows[first : first + 50], labels[first : first + 50])
        same(made.covariance @ made.precision, np.broadcast_to(np.eye(21), made.covariance.shape), atol=1e-8)
        same(made.covariance, np.linalg.inv(made.precision), atol=1e-8)
    assert made.updates == 1000
    if form == "shared":  # what counts there depends on no weight
        phi = input_rows(rows)
        same(made.covariance[0], np.linalg.inv(np.eye(21) + phi.T @ phi), atol=1e-8)


@pytest.mark.parametrize(("form", "several"), [("shared", False), ("categorical", False), ("per_class", True)])
def test_many_at_once_are_as_one_by_one_where_the_map_stays(form, several):
    generator = np.random.default_rng(1)
    rows, labels = generator.normal(size=(40, 6)), generator.integers(0, 2, (40, 3))
    given = labels if several else labels[:, 0]
    made = LastLayerLaplace(rows[:30], given[:30], form=form, several=several, gamma=1e-12)
    at_once = made.covariance_with(rows[30:])
    if form == "per_class":  # which has no gamma to still its weights with: the inverse, directly
        phi = input_rows(rows[30:])
        p = expit(phi @ made.weight.T)
        added = np.einsum("nc,nd,ne->cde", p * (1 - p), phi, phi)
        same(at_once, np.linalg.inv(made.precision + added))
    else:
        same(at_once, made.updated(rows[30:], given[30:]).covariance, atol=1e-8)


def test_an_update_leaves_the_posterior_that_it_came_from():
    rows, labels = np.random.default_rng(2).normal(size=(20, 5)), np.arange(20) % 3
    made = LastLayerLaplace(rows[:15], labels[:15])
    before = made.weight.copy(), made.covariance.copy(), made.updates
    first = made.updated(rows[15:], labels[15:])
    again = made.updated(rows[15:18], labels[15:18]).updated(rows[18:], labels[18:])
    same(first.weight, again.weight, atol=1e-14)
    np.testing.assert_array_equal(before[0], made.weight)
    np.testing.assert_array_equal(before[1], made.covariance)
    assert before[2] == made.updates == 0


def test_a_class_without_a_label_yet_is_known_and_can_be_learnt():
    rows = np.random.default_rng(3).normal(size=(20, 5))
    made = LastLayerLaplace(rows, np.zeros(20, int), classes=3)
    assert made.probabilities(rows).shape == (20, 3)
    assert np.isfinite(made.probabilities(rows)).all()
    new = made.updated(rows[:1], [2])
    assert new.probabilities(rows[:1])[0, 2] > made.probabilities(rows[:1])[0, 2]


def test_what_nobody_has_said_moves_no_class():
    rows = np.random.default_rng(4).normal(size=(20, 5))
    labels = (rows[:, :3] > 0).astype(float)
    made = LastLayerLaplace(rows, labels, several=True, form="per_class")
    new = made.updated(rows[:1], [[1.0, np.nan, 0.0]])
    same(new.weight[1], made.weight[1], atol=0)
    same(new.covariance[1], made.covariance[1], atol=0)
    assert not np.allclose(new.weight[[0, 2]], made.weight[[0, 2]])
    unasked = labels.copy()
    unasked[:, 2] = np.nan  # as a class that was added by name: nothing is known of it
    empty = LastLayerLaplace(rows, unasked, several=True)
    same(empty.weight[2], np.zeros(6), atol=0)


def test_samples_have_the_mean_and_the_variance_of_the_posterior():
    rows, labels = np.random.default_rng(5).normal(size=(30, 5)), np.arange(30) % 4
    made = LastLayerLaplace(rows, labels)
    drawn = made.samples(rows[:3], 20_000, np.random.default_rng(0))
    assert drawn.shape == (3, 20_000, 4)
    same(drawn.mean(1), made.logits(rows[:3]), atol=0.03)
    same(drawn.var(1), made.variance(rows[:3]), atol=0.03)
    np.testing.assert_array_equal(drawn, made.samples(rows[:3], 20_000, np.random.default_rng(0)))


def test_steps_that_destroy_the_probe_are_warned_of(caplog):
    rows, labels = np.random.default_rng(6).normal(size=(10, 3)), np.arange(10) % 2
    LastLayerLaplace(rows, labels, gamma=10.0)
    LastLayerLaplace(rows, labels, gamma=40.0, form="per_class")  # which takes none
    assert not caplog.records
    LastLayerLaplace(rows, labels, gamma=20.0)
    assert "they destroy the probe" in caplog.text


def test_what_does_not_fit_is_one_line():
    rows, labels = np.random.default_rng(7).normal(size=(10, 3)), np.arange(10) % 2
    bad = rows.copy()
    bad[4, 1] = np.nan
    with pytest.raises(OscineError, match="features of clip 4 are not finite"):
        LastLayerLaplace(bad, labels)
    with pytest.raises(OscineError, match="clip 0 has the class 7, expected 0 to 1"):
        LastLayerLaplace(rows, labels).updated(rows[:1], [7])
    with pytest.raises(OscineError, match="features of 10 clips and labels of 9"):
        LastLayerLaplace(rows, labels[:9])
    with pytest.raises(OscineError, match="features are 2 wide, those that were fitted 3"):
        LastLayerLaplace(rows, labels).logits(rows[:, :2])
    with pytest.raises(OscineError, match=r"no covariance 'categorical' of several labels; expected shared, per_class"):
        LastLayerLaplace(rows, labels[:, None], several=True, form="categorical")
    with pytest.raises(OscineError, match="expected 0, 1, or NaN"):
        LastLayerLaplace(rows, labels[:, None] * 2, several=True)
    with pytest.raises(OscineError, match="expected one class number a clip"):
        LastLayerLaplace(rows, labels + 0.5)
