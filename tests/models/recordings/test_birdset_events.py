"""Which events count, how many a species keeps, and what is heard around one: as published, and with an end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from oscine.models.errors import OscineError
from oscine.models.recordings.birdset import curate, event_window, lower_counts, map_events

Times = list[list[float]] | None


def mapped(*recordings: tuple[Times, list[int] | None]) -> list[tuple[int, float, float]]:
    columns = {
        "detected_events": [times for times, _ in recordings],
        "event_cluster": [which for _, which in recordings],
    }
    return [tuple(row) for row in map_events(pa.table(columns)).itertuples(index=False)]


def test_the_largest_cluster_counts_and_noise_does_not() -> None:
    events: Times = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [9, 10]]
    assert mapped((events, [-1, 2, 1, -1, 2, -1])) == [(0, 2, 3), (0, 8, 9)]


def test_of_clusters_as_large_the_smallest_number_counts() -> None:
    assert mapped(([[0, 1], [2, 3], [4, 5], [6, 7]], [3, 1, 3, 1])) == [(0, 2, 3), (0, 6, 7)]


def test_noise_counts_where_it_is_the_only_event() -> None:
    assert mapped(([[3, 4]], [-1]), ([[3, 4], [5, 6]], [-1, -1])) == [(0, 3, 4), (1, 0, 5)]


def test_a_recording_without_events_has_its_first_5_seconds() -> None:
    assert mapped(([], []), ([[1, 2]], [0]), (None, None)) == [(0, 0, 5), (1, 1, 2), (2, 0, 5)]


@pytest.mark.parametrize(
    ("times", "clusters", "complaint"),
    [([[1.0, 2.0]], [1, 2], "other lengths"), ([[1.0]], [1], r"not \[start, end\]"), (["x"], [1], "another type")],
)
def test_events_that_do_not_fit_together_are_refused(times: Times, clusters: list[int], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        mapped((times, clusters))


@pytest.mark.parametrize(
    ("event", "within", "window"),
    [
        ((10, 12), 30, (8, 14)),  # two seconds on both sides make six
        ((1, 2), 30, (0, 6)),  # at the beginning what is missing is taken behind
        ((29, 30), 30, (24, 30)),  # and at the end before
        ((1, 2), 5.5, (0, 5.5)),  # a recording shorter than six seconds is taken whole
        ((1, 2), 3, (0, 3)),
        ((10, 19), 30, (10, 19)),  # a longer event is taken as it is
        ((25, 34), 30, (24, 30)),  # one that reaches beyond the end is cut there
        ((40, 41), 30, (24, 30)),
    ],
)
def test_a_clip_of_5_seconds_is_cut_from_6_around_its_event(
    event: tuple[float, float], within: float, window: tuple[float, float]
) -> None:
    assert event_window(*event, within, 5.0) == window


def published(counts: list[int], most: int, floor: int) -> list[int] | None:
    """The loop as it was published; None where it does not end."""
    counts = list(counts)
    for _ in range(10_000):
        largest = max(counts)
        if not (sum(counts) > floor or largest != most):
            return counts
        many = counts.count(largest)
        step = largest - sorted(counts, reverse=True)[: many + 1][-1]
        if sum(counts) - step * many < floor or largest in (most, 1):
            return counts
        counts = [count - step if count == largest else count for count in counts]
    return None


def test_it_levels_as_published_where_the_published_loop_ends_and_meets_its_limit() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(400):
        counts = rng.integers(1, rng.integers(2, 9), rng.integers(1, 40))
        floor = int(rng.integers(1, 80))
        theirs = published(counts.tolist(), 2, floor)
        if theirs is not None and 2 in counts:  # else it may step over the limit, or stop before it
            compared += 1
            assert lower_counts(counts, 2, floor).tolist() == theirs
    assert compared > 200


def test_levelling_ends_on_every_input_and_never_goes_too_low() -> None:
    rng = np.random.default_rng(1)
    for _ in range(400):
        counts = rng.integers(1, 50, rng.integers(1, 30)) if rng.random() < 0.5 else np.full(rng.integers(1, 30), 7)
        most, floor = int(rng.integers(1, 9)), int(rng.integers(0, 300))
        kept = lower_counts(counts, most, floor)
        assert (kept <= counts).all()
        assert (kept >= np.minimum(counts, most)).all()
        assert kept.sum() >= min(floor, counts.sum())
        assert kept.max() <= most or lower_counts(kept, most, floor).tolist() == kept.tolist()


def test_equal_counts_are_lowered_as_far_as_the_floor_allows() -> None:
    assert published([4] * 200, 2, 500) is None
    assert lower_counts(np.full(200, 4), 2).tolist() == [3] * 200
    assert lower_counts(np.full(300, 4), 2).tolist() == [2] * 300
    assert lower_counts(np.array([4, 1, 1]), 2, 0).tolist() == [2, 1, 1]  # no step over the limit


def test_3000_recordings_of_a_species_keep_about_5700_events() -> None:
    counts = np.random.default_rng(0).geometric(0.1, 3000)
    assert lower_counts(counts, 2).sum() == np.minimum(counts, 2).sum() == pytest.approx(5700, abs=100)


def test_a_rare_species_keeps_all_and_a_frequent_one_two_of_each_recording() -> None:
    recording = np.repeat(np.arange(400), 4)
    species = pd.Series(np.where(recording < 300, "often", "seldom"))
    kept = curate(pd.Series(recording), species, 2, seed=0)
    counts = pd.Series(recording[kept]).value_counts().sort_index()
    assert (counts[:300] == 2).all()
    assert (counts[300:] == 4).all()
    assert (np.diff(kept) > 0).all()


def test_which_events_are_kept_depends_on_the_seed_alone() -> None:
    recording, species = pd.Series(np.repeat(np.arange(300), 4)), pd.Series(["x"] * 1200)
    one, again, other = (curate(recording, species, 2, seed) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
    assert set(one % 4) == {0, 1, 2, 3}


def test_no_events_of_a_recording_is_refused() -> None:
    with pytest.raises(OscineError, match="keep at least 1, or all"):
        curate(pd.Series([0]), pd.Series(["x"]), 0, 0)
