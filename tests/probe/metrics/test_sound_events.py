"""Frames become events and events become frames; matches by hand, and never fewer than can be made."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from oscine.models.errors import OscineError
from oscine.probe.metrics.sound_events import Matches, find_events, median_filter, onset_matches, segment_matches, total
from oscine.probe.tasks.frame_task import Event, frame_targets

HOP = 0.16


def test_a_frame_is_positive_if_its_left_edge_lies_within_an_event() -> None:
    # Edges at 0, 0.16, 0.32, 0.48, 0.64; both ends of an event belong to it.
    targets = frame_targets([Event(0.16, 0.48, 0), Event(0.17, 0.31, 1), Event(0.6, 9.0, 2)], 5, HOP, 3)
    assert targets.T.tolist() == [[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]


def test_rounding_does_not_move_an_edge() -> None:
    for frame in range(750):  # in milliseconds, as they are annotated, a frame's edge is a whole number
        targets = frame_targets([Event(frame * 160 / 1000, frame * 160 / 1000, 0)], 750, HOP, 1)
        assert targets.nonzero()[:, 0].tolist() == [frame]


def test_events_are_found_again_in_their_frames() -> None:
    events = [Event(2 * HOP, 6 * HOP, 1), Event(4 * HOP, 4 * HOP, 0), Event(9 * HOP, 11 * HOP, 1)]
    assert find_events(frame_targets(events, 12, HOP, 2), HOP, median=1) == sorted(events)


def test_the_median_fills_gaps_and_removes_spikes_and_keeps_the_ends() -> None:
    column = torch.tensor([1.0, 1, 0, 1, 1, 0, 0, 1, 0, 1])
    filtered = median_filter(torch.stack([column, torch.zeros(10)], dim=1), 3)
    assert filtered.T.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0, 1, 1], [0] * 10]
    assert torch.equal(median_filter(filtered, 1), filtered)


def test_the_threshold_is_reached_by_what_equals_it_and_may_differ_by_class() -> None:
    probabilities = torch.tensor([[0.3, 0.3], [0.3, 0.3], [0.29, 0.6], [0.29, 0.6]])
    assert find_events(probabilities, 1.0, torch.tensor(0.3)) == [Event(0, 1, 0), Event(0, 3, 1)]
    assert find_events(probabilities, 1.0, torch.tensor([0.29, 0.5])) == [Event(0, 3, 0), Event(2, 3, 1)]


def test_onsets_match_within_the_collar_whatever_the_offset() -> None:
    annotated = [[Event(1.0, 2.0, 0), Event(5.0, 5.5, 0), Event(5.0, 5.5, 1)], []]
    found = [[Event(1.2, 9.0, 0), Event(5.21, 5.5, 0), Event(5.0, 5.1, 2)], [Event(1.0, 2.0, 0)]]
    first, second = onset_matches(annotated, found)
    assert (first, second) == (Matches(1, 3, 3), Matches(0, 0, 1))
    both = total([first, second])
    assert (both.precision, both.recall, both.f1) == (1 / 4, 1 / 3, 2 / 7)


def test_an_event_matches_once() -> None:
    assert onset_matches([[Event(1.0, 2.0, 0)]], [[Event(0.9, 2.0, 0), Event(1.1, 2.0, 0)]]) == [Matches(1, 1, 2)]


def test_as_many_onsets_match_as_can() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        there, said = ([Event(float(time), 9.0, 0) for time in rng.uniform(0, 1.5, 5)] for _ in range(2))
        most = max(sum(abs(a.onset - b.onset) <= 0.2 for a, b in zip(there, order)) for order in permutations(said))
        assert onset_matches([there], [said])[0].matched == most


def drawn_scenes(rng: np.random.Generator, files: int = 4) -> list[list[Event]]:
    """Up to twelve events of three classes a file, crowded, many of them no longer than a frame, in milliseconds."""
    scenes: list[list[Event]] = []
    for _ in range(files):
        events = [
            (rng.integers(0, 3000), rng.choice([0, 80, 300, 1700]), rng.integers(3)) for _ in range(rng.integers(13))
        ]
        scenes.append([Event(at / 1000, (at + length) / 1000, int(label)) for at, length, label in events])
    return scenes


def most_matches(truth: list[Event], guess: list[Event], collar: int) -> int:
    """The greatest number of pairs, of all ways to pair them; in whole milliseconds, which are exact."""
    if not truth or not guess:
        return 0
    fits = [
        [a.label == b.label and abs(round(1000 * a.onset) - round(1000 * b.onset)) <= collar for b in guess]
        for a in truth
    ]
    pairs = linear_sum_assignment(fits, maximize=True)
    return int(np.array(fits)[pairs].sum())


def sounding(events: list[Event]) -> set[tuple[int, int]]:
    """Class and second of every millisecond in which an event sounds, one after the other."""
    found = set()
    for event in events:
        begin, end = round(1000 * event.onset), round(1000 * event.offset)
        found |= {(event.label, at // 1000) for at in range(begin, max(end, begin + 1))}
    return found


def test_onset_and_segment_f1_of_crowded_scenes_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        annotated, said = drawn_scenes(rng), drawn_scenes(rng)
        onset, segment = total(onset_matches(annotated, said)), total(segment_matches(annotated, said))
        there, heard = (sum(map(len, scenes)) for scenes in (annotated, said))
        matched = sum(most_matches(*pair, collar=200) for pair in zip(annotated, said))
        assert onset == (matched, there, heard)
        assert onset.f1 == pytest.approx(f1_of(matched, there - matched, heard - matched))
        pairs = [(sounding(truth), sounding(guess)) for truth, guess in zip(annotated, said)]
        right, missed, wrong = (sum(map(len, sets)) for sets in zip(*((a & b, a - b, b - a) for a, b in pairs)))
        assert segment == (right, right + missed, right + wrong)
        assert segment.f1 == pytest.approx(f1_of(right, missed, wrong))


def f1_of(right: int, missed: int, wrong: int) -> float:
    """The harmonic mean of precision and recall."""
    precision, recall = right / max(right + wrong, 1), right / max(right + missed, 1)
    return 2 * precision * recall / (precision + recall) if right else 0.0


def test_segments_match_where_the_same_class_sounds() -> None:
    annotated = [[Event(0.5, 2.0, 0), Event(3.2, 3.4, 1)]]  # seconds 0 and 1; second 3
    found = [[Event(1.9, 2.1, 0), Event(3.0, 3.0, 1)]]  # seconds 1 and 2; second 3
    assert segment_matches(annotated, found) == [Matches(2, 3, 3)]
    assert segment_matches(annotated, annotated)[0].f1 == 1


def test_nothing_to_find_and_nothing_found_has_no_score() -> None:
    (nothing,) = onset_matches([[]], [[]])
    assert all(math.isnan(value) for value in (nothing.precision, nothing.recall, nothing.f1))


def test_what_does_not_fit_gets_a_clear_line() -> None:
    with pytest.raises(OscineError, match="annotations of 2 files and findings of 1"):
        onset_matches([[], []], [[]])
    with pytest.raises(OscineError, match="a median over 4 frames has no middle; choose an odd number"):
        median_filter(torch.zeros(5, 1), 4)
    with pytest.raises(OscineError, match="an event of class 3, expected 0 to 2"):
        frame_targets([Event(0, 1, 3)], 5, HOP, 3)
