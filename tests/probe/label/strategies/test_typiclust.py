"""TypiClust takes what the reference takes from its clusters; small clusters come last."""

from __future__ import annotations

import numpy as np

from oscine.probe.label.strategies.typiclust import most_typical, typicality


def test_picks_are_those_of_the_reference(query):
    labelled = query["typiclust.labelled"]
    clips = np.concatenate([labelled, np.setdiff1d(np.arange(120), labelled)])
    rows = query["typiclust.phi"][clips]
    chosen = clips[most_typical(rows, query["typiclust.clusters"], 5, labelled=len(labelled))]
    assert chosen.tolist() == query["typiclust.picks"].tolist()


def test_picks_without_labels_are_those_of_the_reference(query):
    chosen = most_typical(query["typiclust.phi"], query["typiclust.initial_clusters"], 5, labelled=0)
    assert chosen.tolist() == query["typiclust.initial_picks"].tolist()


def test_typicality_is_that_of_the_reference_which_measured_distances_in_float32(query):
    labelled, clusters = query["typiclust.labelled"], query["typiclust.clusters"]
    rows = query["typiclust.phi"][np.concatenate([labelled, np.setdiff1d(np.arange(120), labelled)])]
    for number in np.unique(clusters):
        own, expected = rows[clusters == number], query["typiclust.typicality_within_cluster"][clusters == number]
        np.testing.assert_allclose(typicality(own), expected, rtol=1e-6)
        squares = np.sort(((own[:, None] - own) ** 2).sum(2), axis=1)[:, 1 : 1 + min(20, max(1, len(own) // 2))]
        np.testing.assert_allclose(typicality(own), 1 / (squares.mean(1) + 1e-5), rtol=1e-12)


def test_the_two_closest_clips_tie_and_the_lowest_is_taken():
    rows = np.array([[0.3, 9.1], [5.7, 5.3], [5.9, 5.1]])  # of three, one neighbour counts
    assert most_typical(rows, np.zeros(3, dtype=int), 1, labelled=0).tolist() == [1]


def test_small_clusters_and_those_with_labels_come_later():
    """Cluster 0 has a label, 1 is small, 2 and 3 are large and empty; all are taken in the end, each clip once."""
    clusters = np.array([0] * 8 + [1] * 5 + [2] * 6 + [3] * 7)
    rows = np.random.default_rng(0).normal(size=(26, 3))
    chosen = most_typical(rows, clusters, 25, labelled=1)
    assert clusters[chosen[:4]].tolist() == [3, 2, 0, 3]  # biggest first; round the fixed list again
    assert clusters[chosen[-5:]].tolist() == [1] * 5
    assert sorted(chosen) == list(range(1, 26))


def test_a_taken_clip_no_longer_makes_its_neighbours_typical():
    """Pairs of copies: the second copy is as near to nothing as any other once the first is taken."""
    rows = np.array([[0.0], [0.0], [10.0], [10.0], [10.0], [10.5], [11.0]])
    chosen = most_typical(rows, np.zeros(7, dtype=int), 2, labelled=0)
    assert chosen.tolist()[0] == 2
    left = np.delete(rows, 2, axis=0)
    assert chosen[1] == np.delete(np.arange(7), 2)[np.argmax(typicality(left))]
