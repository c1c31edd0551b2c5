"""AlfaMix has the gradients, anchors and candidates of the reference; its closed form is the mix written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oscine.probe.label import State
from oscine.probe.label.strategies.alfamix import EPS, anchors, changed_by_any, gradients

EXACT = {"rtol": 0, "atol": 1e-9}


def test_gradients_anchors_and_candidates_are_those_of_the_reference(query, one_label):
    np.testing.assert_allclose(gradients(one_label), query["alfamix.gradients"], **EXACT)
    np.testing.assert_allclose(anchors(one_label), query["alfamix.anchors"], **EXACT)
    assert changed_by_any(one_label).tolist() == query["alfamix.candidates"].tolist()


def written_out(state: State) -> list[int]:
    """Mix every clip with every anchor, number by number."""
    found, rows = [], state.of_candidates("features")
    for number, (phi, gradient) in enumerate(zip(rows, gradients(state))):
        for anchor in anchors(state):
            apart = anchor - phi
            with np.errstate(divide="ignore", invalid="ignore"):
                alpha = EPS / np.sqrt(len(phi)) * np.linalg.norm(apart) * gradient / (np.linalg.norm(gradient) * apart)
            alpha = np.where(apart == 0, 0, alpha)
            before, after = ((row @ state.weight.T + state.bias) for row in (phi, alpha * anchor + (1 - alpha) * phi))
            changed = ((before > 0) != (after > 0)).any() if state.several else before.argmax() != after.argmax()
            if changed and number not in found:
                found.append(number)
    return found


@pytest.mark.parametrize("kind", ["one_label", "several_labels"])
def test_the_closed_form_is_the_mix_written_out(kind, request):
    state = request.getfixturevalue(kind)
    assert changed_by_any(state).tolist() == written_out(state) != []


def test_numbers_that_equal_the_anchors_stay(one_label):
    """Silent features, which every clip has alike; without them the gradient would carry clips on."""
    features = one_label.features.copy()
    features[:, [1, 5]] = 0
    logits = features @ one_label.weight.T + one_label.bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    state = replace(one_label, features=features, probabilities=p, weight=10 * one_label.weight)
    assert changed_by_any(state).tolist() == written_out(state) != []


def test_classes_that_were_not_seen_have_no_anchor(one_label, several_labels):
    state = replace(one_label, labels=np.where(one_label.labels == 1, 3, one_label.labels))
    expected = [one_label.features[state.labelled[state.labels == number]].mean(0) for number in (0, 2, 3)]
    np.testing.assert_allclose(anchors(state), expected, **EXACT)
    labels = several_labels.labels.copy()
    labels[:, 0], labels[3, 1] = 0, np.nan
    state = replace(several_labels, labels=labels)
    assert anchors(state).shape == (3, 8)  # the fixture's class 4 has none either
    assert anchors(replace(several_labels, labels=0 * labels)).shape == (0, 8)
