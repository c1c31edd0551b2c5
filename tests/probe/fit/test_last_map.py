"""The fit of a last linear map is scikit-learn's logistic regression, for hard and for soft labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from oscine.probe.fit.last_map import fit_sigmoids, fit_softmax, fit_with_intercept

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(60, 5))
    rows[:, -1] = 1.0
    return rows


def reference(penalty: float, **settings: object) -> LogisticRegression:
    return LogisticRegression(C=1 / penalty, max_iter=10_000, tol=1e-10, **settings)


@pytest.mark.parametrize("penalty", [10.0, 1.0, 0.1])
def test_all_weights_are_penalised_alike(rows, penalty):
    labels = np.arange(60) % 3
    wanted = reference(penalty, fit_intercept=False).fit(rows, labels)
    np.testing.assert_allclose(fit_softmax(rows, np.eye(3)[labels], penalty), wanted.coef_, **CLOSE)
    targets = np.random.default_rng(1).integers(0, 2, (60, 2)).astype(float)
    found = fit_sigmoids(rows, targets, penalty)
    for number, weight in enumerate(found):
        wanted = reference(penalty, fit_intercept=False).fit(rows, targets[:, number])
        np.testing.assert_allclose(weight, wanted.coef_[0], **CLOSE)


def test_an_intercept_without_a_penalty_is_the_usual_one(rows):
    labels = np.arange(60) % 3
    wanted = reference(1.0).fit(rows[:, :-1], labels)
    found = fit_softmax(rows, np.eye(3)[labels], np.array([1.0, 1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(found[:, :-1], wanted.coef_, **CLOSE)
    offset = found[:, -1] - found[:, -1].mean()  # which probabilities do not depend on
    np.testing.assert_allclose(offset, wanted.intercept_ - wanted.intercept_.mean(), **CLOSE)


def test_a_class_that_no_clip_has_is_never_said_and_changes_nothing(rows):
    labels = np.array([0, 2, 3])[np.arange(60) % 3]
    wanted = reference(1.0).fit(rows[:, :-1], labels)
    weight, bias = fit_with_intercept(rows[:, :-1], np.eye(5)[labels], 1.0, several=False)
    shares = softmax(rows[:, :-1] @ weight.T + bias, axis=1)
    np.testing.assert_allclose(shares[:, [0, 2, 3]], wanted.predict_proba(rows[:, :-1]), **CLOSE)
    assert not shares[:, [1, 4]].any()


def test_soft_labels_are_weighted_copies_of_a_clip(rows):
    targets = np.random.default_rng(2).dirichlet([0.5] * 3, 60)
    copies, labels = np.repeat(rows, 3, axis=0), np.tile(np.arange(3), 60)
    wanted = reference(1.0, fit_intercept=False).fit(copies, labels, sample_weight=targets.ravel())
    np.testing.assert_allclose(fit_softmax(rows, targets, 1.0), wanted.coef_, **CLOSE)
    silent = np.vstack([targets, np.zeros(3)])
    np.testing.assert_allclose(fit_softmax(np.vstack([rows, rows[:1]]), silent, 1.0), wanted.coef_, **CLOSE)


def test_what_nobody_has_said_is_left_out_of_that_class(rows):
    targets = np.random.default_rng(3).integers(0, 2, (60, 2)).astype(float)
    targets[40:, 1] = np.nan
    found = fit_sigmoids(rows, targets, 1.0)
    np.testing.assert_allclose(found[:1], fit_sigmoids(rows, targets[:, :1], 1.0), **CLOSE)
    np.testing.assert_allclose(found[1:], fit_sigmoids(rows[:40], targets[:40, 1:], 1.0), **CLOSE)


def test_a_class_that_all_have_or_none_gets_the_logit_of_its_share(rows):
    targets = np.tile([0.0, 1.0], (60, 1))
    targets[50:, 1] = np.nan
    wanted = np.zeros((2, 5))
    wanted[:, -1] = np.log(0.5 / 60.5), np.log(50.5 / 0.5)
    np.testing.assert_allclose(fit_sigmoids(rows, targets, 1.0), wanted, rtol=0, atol=1e-12)
