"""DropQuery counts the changes that the reference counts, and keeps the clips that it keeps."""

from __future__ import annotations

import numpy as np

from oscine.probe.label import State, choose
from oscine.probe.label.strategies.dropquery import changed_often, changes


def test_changes_and_candidates_are_those_of_the_reference(query, one_label):
    rows = one_label.of_candidates("features")
    counts = sum(
        changes(rows, rows * keep / 0.25, weight=one_label.weight, bias=one_label.bias, several=False).astype(int)
        for keep in query["dropquery.keep"]
    )
    assert counts.tolist() == query["dropquery.mismatches"].tolist()
    assert changed_often(counts, 6).tolist() == query["dropquery.candidates"].tolist()


def test_the_threshold_falls_only_as_far_as_it_must():
    counts = np.array([0, 1, 2, 3] * 25)
    assert (counts[changed_often(counts, 2)] >= 2).all()  # 50 of them are enough
    assert (counts[changed_often(counts, 3)] >= 1).all()
    assert {*counts[changed_often(counts, 50)]} == {1, 2, 3}  # never one that did not change


def test_a_change_of_any_class_counts_with_several_labels():
    weight, bias = np.eye(3), np.zeros(3)
    rows = np.array([[1.0, 2, -1], [1, 2, -1], [1, 2, -1]])
    others = np.array([[2.0, 1, -3], [-1, 2, -1], [1, 2, -1]])
    assert changes(rows, others, weight=weight, bias=bias, several=True).tolist() == [False, True, False]
    assert changes(rows, others, weight=weight, bias=bias, several=False).tolist() == [True, False, False]


def test_groups_of_unsure_clips_give_one_each_and_sure_ones_none():
    """Three groups, as unsure as can be, in directions that lie apart; a fourth that no dropout changes."""
    rng = np.random.default_rng(0)
    directions = np.eye(12)[:4].repeat(20, axis=0) * 5
    features = directions + 0.01 * rng.normal(size=(80, 12))
    features[:60, 4:] = rng.normal(size=(60, 8)) * 0.3
    weight = np.zeros((2, 12))
    weight[0, 4:] = 1
    weight[1, 3] = 3  # the last group's own feature
    bias = np.array([0.0, 0.0])
    logits = features @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    state = State(features, p, [79], [1], range(79), weight=weight, bias=bias)
    for seed in range(5):
        chosen = choose("dropquery", state, 3, np.random.default_rng(seed))
        assert len({*chosen.tolist()}) == 3
