"""Probes of a simulation are those of scikit-learn, and say 0 of what they have never heard."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from oscine.probe.label.simulation.probes import fit_probe, score

RNG = np.random.default_rng(0)
FEATURES, OTHERS = RNG.normal(size=(60, 6)), RNG.normal(size=(9, 6))
LABELS = (FEATURES[:, :3] + 0.5 * RNG.normal(size=(60, 3))).argmax(1)
SEVERAL = (FEATURES[:, :3] + 0.5 * RNG.normal(size=(60, 3)) > 0.5).astype(np.uint8)


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_logistic_regression_is_that_of_scikit_learn(C):
    expected = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(FEATURES, LABELS)
    found = fit_probe("logistic", FEATURES, LABELS, 3, several=False, C=C)
    np.testing.assert_allclose(found.probabilities(OTHERS), expected.predict_proba(OTHERS), atol=1e-4)
    assert (found.weight.shape, found.bias.shape) == ((3, 6), (3,))


def test_several_labels_have_a_regression_each():
    found = fit_probe("logistic", FEATURES, SEVERAL, 3, several=True, C=2.0)
    for column in range(3):
        expected = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000).fit(FEATURES, SEVERAL[:, column])
        np.testing.assert_allclose(
            found.probabilities(OTHERS)[:, column], expected.predict_proba(OTHERS)[:, 1], atol=1e-4
        )


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_a_class_without_a_labelled_clip_is_never_said(kind):
    found = fit_probe(kind, FEATURES, 2 * LABELS, 7, several=False)
    probabilities = found.probabilities(OTHERS)
    assert probabilities.shape == (9, 7)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities[:, [1, 3, 5, 6]] == 0).all()


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_one_class_is_said_of_everything(kind):
    found = fit_probe(kind, FEATURES, np.full(60, 2), 4, several=False)
    np.testing.assert_array_equal(found.probabilities(OTHERS), np.tile([0, 0, 1, 0], (9, 1)))


def test_a_class_that_all_clips_or_none_have_is_said_by_its_share():
    labels = np.column_stack([SEVERAL[:, 0], np.zeros(60), np.ones(60)]).astype(np.uint8)
    found = fit_probe("logistic", FEATURES, labels, 3, several=True)
    np.testing.assert_allclose(found.probabilities(OTHERS)[:, 1:], [[0.5 / 61, 60.5 / 61]] * 9)


@pytest.mark.parametrize(("labels", "several"), [(LABELS, False), (SEVERAL, True), (SEVERAL[:, :1], True)])
def test_two_layers_learn_and_do_so_the_same_twice(labels, several):
    classes = labels.shape[1] if several else 3
    wide = np.tile(FEATURES, (1, 20))  # the hidden layer is as wide
    found = fit_probe("mlp", wide, labels, classes, several=several)
    assert found.weight is None
    assert found.bias is None
    assert score(found.logits(wide), labels, several)["auroc"] > 0.9
    again = fit_probe("mlp", wide, labels, classes, several=several)
    np.testing.assert_array_equal(found.logits(wide), again.logits(wide))


def test_balanced_accuracy_weighs_every_class_that_is_judged_alike():
    logits = np.array([[2.0, 0, 0], [2, 0, 0], [2, 0, 0], [2, 0, 0]])
    scores = score(logits, np.array([0, 0, 0, 1]), several=False)
    assert (scores["accuracy"], scores["balanced_accuracy"]) == (0.75, 0.5)
    assert "balanced_accuracy" not in score(
        logits, np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]), several=True
    )
