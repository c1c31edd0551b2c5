"""Scores of uncertainty are those of the reference; ties go to the lowest clip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import entr, expit

from oscine.probe.label import State, choose
from oscine.probe.label.strategies.uncertainty import binary_entropy, disagreement, margins

EXACT = {"rtol": 0, "atol": 1e-9}


@pytest.mark.parametrize("name", ["margin", "entropy", "least_confidence"])
def test_picks_of_one_label_a_clip_are_those_of_the_reference(name, query, one_label, generator):
    assert choose(name, one_label, 6, generator).tolist() == query[f"{name}.picks"].tolist()
    every = choose(name, one_label, 48, generator)
    by_score = one_label.candidates[np.argsort(-query[f"{name}.score"], kind="stable")]
    assert every.tolist() == by_score.tolist()


def test_margins_are_those_of_the_reference(query, one_label, multilabel, several_labels):
    np.testing.assert_allclose(margins(one_label), query["margin.score"], **EXACT)
    np.testing.assert_allclose(margins(several_labels), multilabel["margin.score"], **EXACT)
    np.testing.assert_allclose(margins(several_labels, worst=True), multilabel["margin.max"], **EXACT)


@pytest.mark.parametrize(
    ("name", "options", "score"),
    [
        ("entropy", {}, "entropy.score"),
        ("entropy", {}, "entropy.mean"),
        ("margin", {}, "margin.score"),
        ("margin", {"worst": True}, "margin.max"),
        ("least_confidence", {}, "least_confidence.score"),
        ("lci", {}, "lci.score"),
    ],
)
def test_several_labels_are_ranked_by_the_scores_of_the_reference(
    name, options, score, multilabel, several_labels, generator
):
    expected = several_labels.candidates[np.argsort(-multilabel[score].round(12), kind="stable")]
    assert choose(name, several_labels, 45, generator, **options).tolist() == expected.tolist()


def test_entropies_of_the_reference(query, one_label, multilabel, several_labels):
    p = one_label.of_candidates("probabilities")
    np.testing.assert_allclose(entr(p).sum(1), query["entropy.score"], **EXACT)
    p = several_labels.of_candidates("probabilities")
    np.testing.assert_allclose(binary_entropy(p).sum(1), multilabel["entropy.score"], **EXACT)


def test_with_two_classes_three_strategies_rank_alike(generator):
    p = np.random.default_rng(1).uniform(size=30)
    state = State(np.zeros((31, 2)), np.stack([p, 1 - p], 1)[[0, *range(30)]], [0], [1], range(1, 31))
    picks = [choose(name, state, 30, generator).tolist() for name in ("margin", "entropy", "least_confidence")]
    assert picks[0] == picks[1] == picks[2]


def test_rare_classes_weigh_more_where_that_is_asked(generator):
    p = np.array([[0.1, 0.1], [0.5, 0.1], [0.1, 0.5]])
    labels = np.array([[0, 1]])  # the second class is known already
    state = State(np.zeros((3, 2)), p, [0], labels, [1, 2], several=True)
    for name in ("entropy", "margin", "least_confidence"):
        assert choose(name, state, 1, generator, balance=True).tolist() == [1]
    state = State(np.zeros((3, 2)), p, [0], 1 - labels, [1, 2], several=True)
    for name in ("entropy", "margin", "least_confidence"):
        assert choose(name, state, 1, generator, balance=True).tolist() == [2]


@pytest.mark.parametrize("several", [False, True])
def test_bald_is_the_information_that_draws_share(several, generator):
    """Against the definition written out for each clip; draws that agree share none, however unsure they are."""
    samples = generator.normal(size=(5, 40, 3))
    samples[3] = samples[3, :1]
    p = expit(samples) if several else np.exp(samples) / np.exp(samples).sum(2, keepdims=True)

    def uncertainty(p):
        return sum(-v * np.log(v) - (1 - v) * np.log(1 - v) if several else -v * np.log(v) for v in p)

    expected = [uncertainty(one.mean(0)) - np.mean([uncertainty(draw) for draw in one]) for one in p]
    labels = [[0, 0, 1]] if several else [2]
    state = State(np.zeros((5, 2)), None, [0], labels, range(1, 5), several=several, samples=samples)
    np.testing.assert_allclose(disagreement(state), expected[1:], rtol=0, atol=1e-12)
    picks = choose("bald", state, 4, generator)
    assert picks[-1] == 3
    assert picks[0] == 1 + np.argmax(expected[1:])
