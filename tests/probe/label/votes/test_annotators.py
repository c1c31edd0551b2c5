"""What is reported of an annotator is counted by hand here."""

from __future__ import annotations

import numpy as np
import pytest
from pandas import DataFrame

from oscine.probe.label.votes.annotators import Mistake, report_annotators, second_opinions
from oscine.probe.label.votes.votes import Votes

CLASSES = ["cat", "dog"]


def votes_of(said: list, classes: list[str] = CLASSES, **more: object) -> Votes:
    array = np.array(said)
    clips = DataFrame({"path": [f"{number}.wav" for number in range(len(array))]})
    people = ["ann", "bob", "cem"][: array.shape[1]]
    given = {"seconds": np.full(array.shape[:2], np.nan), "audit": np.zeros(len(array), bool), **more}
    return Votes(clips, people, classes, array, **given)


def test_agreement_is_with_the_others_and_ties_count_in_parts():
    votes = votes_of([[0, 0, 0], [0, 1, 1], [0, 0, 1], [1, -1, -1]])
    ann, bob, cem = report_annotators(votes, np.eye(2)[[0, 1, 0, 1]])
    # ann: with both, against both, one of two; the last clip nobody else has heard
    assert (ann.votes, ann.compared, ann.agreement) == (4, 3, pytest.approx((1 + 0 + 0.5) / 3))
    assert (bob.compared, bob.agreement) == (3, pytest.approx((1 + 0.5 + 0.5) / 3))
    assert (cem.compared, cem.agreement) == (3, pytest.approx((1 + 0.5 + 0) / 3))


def test_rates_are_means_over_classes_and_mistakes_are_named():
    votes = votes_of([[0], [0], [0], [1]])
    (ann,) = report_annotators(votes, np.eye(2)[[0, 0, 1, 1]])
    # of cats all are named, of dogs one of two
    assert (ann.sensitivity, ann.specificity) == (pytest.approx(0.75), pytest.approx(0.75))
    assert ann.mistakes == [Mistake("dog", "cat", 1.0)]
    assert (ann.agreement, ann.compared, ann.seconds, ann.consistency) == (None, 0, None, None)


def test_seconds_are_a_median_and_repeats_say_how_consistent_somebody_is():
    votes = votes_of([[0], [1], [1]], seconds=np.array([[2.0], [np.nan], [6.0]]), repeats={"ann": (4, 3)})
    (ann,) = report_annotators(votes, np.eye(2)[[0, 1, 1]])
    assert (ann.seconds, ann.consistency) == (4.0, 0.75)


def test_of_several_labels_a_clip_what_is_missed_and_imagined_is_counted():
    said = [[[1, 0], [1, 0]], [[0, 0], [1, 0]], [[0, 1], [0, -1]]]  # [clips, annotators, classes]
    votes = votes_of(said)
    ann, bob = report_annotators(votes, np.array([[1, 0], [1, 0], [0, 0]], float))
    assert (ann.votes, ann.sensitivity, ann.specificity) == (3, pytest.approx(1 / 2), pytest.approx(3 / 4))
    assert ann.mistakes == [Mistake("cat", "", 1.0), Mistake("", "dog", 1.0)]
    assert (bob.sensitivity, bob.specificity, bob.mistakes) == (1.0, 1.0, [])
    # on five answers both were asked for the same class: the same in four of them
    assert (ann.compared, ann.agreement) == (3, pytest.approx(4 / 5))


def test_who_said_nothing_has_a_report_without_numbers():
    quiet = report_annotators(votes_of([[0, -1], [1, -1]]), np.eye(2))[1]
    assert quiet == ("bob", 0, 0, None, None, None, None, None, [])


def test_second_opinions_are_asked_of_those_who_have_not_heard_the_clip_the_unsure_first():
    posterior = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4], [0.5, 0.5]])
    heard = np.array([[True, False], [True, False], [False, True], [True, True]])
    assert second_opinions(posterior, heard) == [(1, [1]), (2, [0]), (0, [1])]
    several = np.array([[0.9, 0.9], [0.5, 0.0], [0.5, 0.5], [0.0, 0.1]])
    nobody = np.zeros((4, 2), bool)
    assert second_opinions(several, nobody, several=True) == [(clip, [0, 1]) for clip in (2, 1, 0, 3)]
