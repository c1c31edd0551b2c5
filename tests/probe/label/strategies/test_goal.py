"""What is sought comes first; rare classes come in turn."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label import State, choose


def test_a_goal_is_the_shortest_vector_of_objectives(several_labels, generator):
    p = several_labels.of_candidates("probabilities")
    order = np.argsort(np.hypot(1 - p[:, 1], 1 - p[:, 3]), kind="stable")
    chosen = choose("goal", several_labels, 45, generator, classes=[1, 3])
    assert chosen.tolist() == several_labels.candidates[order].tolist()


def test_objectives_of_ones_own_stand_beside_the_classes(several_labels, generator):
    quiet = np.linspace(0, 1, 60)
    p = several_labels.of_candidates("probabilities")[:, 0]
    order = np.argsort(np.hypot(1 - p, quiet[several_labels.candidates]), kind="stable")
    chosen = choose("goal", several_labels, 9, generator, classes=[0], objectives=quiet)
    assert chosen.tolist() == several_labels.candidates[order[:9]].tolist()
    alone = choose("goal", several_labels, 3, generator, objectives=quiet)
    assert alone.tolist() == several_labels.candidates[:3].tolist()


def test_reject_takes_the_better_half_of_a_draw(several_labels):
    chosen = choose("goal", several_labels, 8, np.random.default_rng(3), classes=[1], rule="reject")
    drawn = np.random.default_rng(3).choice(several_labels.candidates, 16, replace=False)
    best = [clip for clip in choose("goal", several_labels, 45, np.random.default_rng(0), classes=[1]) if clip in drawn]
    assert chosen.tolist() == best[:8]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"goal has no goal; give classes=\[numbers of the classes that are sought\], or objectives"),
        ({"classes": [5]}, "goal seeks class 5, expected numbers from 0 to 4"),
        ({"classes": [0], "rule": "keep"}, "rule is 'keep', expected select or reject"),
        ({"objectives": np.full(60, 2.0)}, r"objectives of shape \[60, 1\], expected a row of numbers from 0 to 1"),
        ({"objectives": np.full(60, np.nan)}, r"objectives of shape \[60, 1\], expected"),
        ({"objectives": np.zeros(45)}, r"objectives of shape \[45, 1\], expected .* each of 60 clips"),
    ],
)
def test_a_goal_that_is_none_is_refused(options, said, several_labels, generator):
    with pytest.raises(OscineError, match=f"^{said}"):
        choose("goal", several_labels, 3, generator, **options)


def test_the_rarest_class_is_sought_until_enough_may_be_there(generator):
    """Class 1 has no positive, class 0 has one. Two clips bring 0.9 and 0.2 of class 1, one more than class 0's 1."""
    p = np.array([[0, 0], [0.8, 0.1], [0.7, 0.9], [0.6, 0.05], [0.1, 0.04]])
    state = State(np.zeros((5, 1)), p, [0], [[1, 0]], range(1, 5), several=True)
    assert choose("seek_rare", state, 4, generator).tolist() == [2, 1, 3, 4]


def test_one_label_a_clip_is_sought_alike(generator):
    p = np.array([[0.5, 0.5], [0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    state = State(np.zeros((4, 1)), p, [0], [0], range(1, 4))
    assert choose("seek_rare", state, 3, generator).tolist() == [3, 2, 1]
