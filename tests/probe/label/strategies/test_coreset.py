"""CoreSet takes what the reference takes, and knows duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.probe.label import State, choose
from oscine.probe.label.geometry import nearest_distances, unit_rows


def test_picks_and_first_distances_are_those_of_the_reference(query, one_label, generator):
    assert choose("coreset", one_label, 6, generator).tolist() == query["coreset.picks"].tolist()
    squares = nearest_distances(one_label.of_candidates("features"), one_label.features[one_label.labelled])
    np.testing.assert_allclose(np.sqrt(squares), query["coreset.first_distances"], rtol=0, atol=1e-9)


def test_without_labels_the_clip_nearest_to_the_mean_is_first(generator):
    features = np.array([[0.0], [4.0], [5.0], [11.0]])  # 5 is their mean
    state = State(features, None, [], [], range(4))
    assert choose("coreset", state, 4, generator).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_copy_of_a_labelled_clip_comes_last_wherever_the_origin_is(offset, generator):
    features = generator.normal(size=(40, 7)) + offset
    features[[11, 30]] = features[3]
    state = State(features, None, [3], [0], np.setdiff1d(np.arange(40), 3))
    assert choose("coreset", state, 39, generator)[-2:].tolist() == [11, 30]


def test_rows_of_length_one_are_another_choice(one_label, generator):
    chosen = choose("coreset", one_label, 6, generator, unit=True)
    unit = State(unit_rows(one_label.features), None, one_label.labelled, one_label.labels, one_label.candidates)
    assert chosen.tolist() == choose("coreset", unit, 6, generator).tolist()
    assert chosen.tolist() != choose("coreset", one_label, 6, generator).tolist()
