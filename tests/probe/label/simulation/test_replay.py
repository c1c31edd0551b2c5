"""A run sees what is to choose from alone, buys what it says, and begins with the clips of its seed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label.simulation import replay as replaying
from oscine.probe.label.simulation.replay import first_clips, replay, replay_all
from oscine.probe.label.simulation.settings import SimulationSettings, StrategyCall, parse_strategies
from oscine.probe.label.simulation.views import View

MARGIN = StrategyCall("margin", "margin", {})
RANDOM = StrategyCall("random", "random", {})


def test_a_run_buys_batches_of_different_clips(settings: SimulationSettings, seen: View):
    curve = replay(settings, seen, MARGIN, [0, 12, 20], seed=0)
    assert curve.labels == [3, 5, 7, 9]
    assert [len(batch) for batch in curve.chosen] == [3, 2, 2, 2]
    chosen = [row for batch in curve.chosen for row in batch]
    assert len(set(chosen)) == 9
    assert set(chosen) <= set(seen.rows.tolist())
    assert curve.positives == curve.labels
    assert curve.rarest[-1] <= curve.positives[-1] // 4
    assert {*map(len, curve.scores.values())} == {4}


def test_strategies_see_the_clips_to_choose_from_and_the_labels_bought_so_far(settings, seen: View, monkeypatch):
    states = []

    def choose(name, state, k, generator):
        states.append(state)
        return state.candidates[:k]

    monkeypatch.setattr(replaying, "choose", choose)
    curve = replay(settings, seen, MARGIN, [0, 12, 20], seed=0)
    for state, labelled in zip(states, (3, 5, 7), strict=True):
        np.testing.assert_array_equal(state.features, seen.features)
        assert (len(state.labelled), len(state.candidates)) == (labelled, len(seen.rows) - labelled)
        np.testing.assert_array_equal(state.labels, seen.labels[state.labelled])
        np.testing.assert_array_equal(
            np.argmax(state.features @ state.weight.T + state.bias, 1), state.probabilities.argmax(1)
        )
    assert curve.chosen[1] == seen.rows[states[0].candidates[:2]].tolist()


def test_the_last_point_of_all_labels_is_that_of_a_probe_with_all(settings: SimulationSettings, seen: View):
    curve = replay_all(settings, seen)
    everything = replay(replace(settings, batch=27, batches=1), seen, RANDOM, [0, 1, 2], seed=0)
    assert curve.labels == [30] == everything.labels[-1:]
    for name, (value,) in curve.scores.items():
        assert everything.scores[name][-1] == pytest.approx(value), "the order of clips is nothing to a probe"


@pytest.mark.parametrize("strategy", ["bald", "badge", "uherding", "half_coreset_half_entropy"])
def test_strategies_that_read_more_are_given_it(settings: SimulationSettings, seen: View, strategy: str):
    (call,) = parse_strategies(strategy)[1:]
    assert replay(settings, seen, call, [0, 12, 20], seed=0).labels == [3, 5, 7, 9]


def test_a_probe_of_two_layers_shows_strategies_no_last_map(settings: SimulationSettings, seen: View, monkeypatch):
    states = []
    monkeypatch.setattr(
        replaying, "choose", lambda name, state, k, generator: states.append(state) or state.candidates[:k]
    )
    assert replay(replace(settings, probe="mlp"), seen, MARGIN, [0, 12, 20], seed=0).labels == [3, 5, 7, 9]
    assert [state.weight is state.bias is None for state in states] == [True] * 3


def test_random_clips_are_the_same_whatever_the_encoder(settings: SimulationSettings, seen: View):
    other = seen._replace(features=np.random.default_rng(5).normal(size=seen.features.shape))
    runs = [replay(settings, one, RANDOM, [0, 12, 20], seed=3).chosen for one in (seen, other)]
    assert runs[0] == runs[1] != replay(settings, seen, RANDOM, [0, 12, 20], seed=4).chosen


def test_first_clips_are_written_and_read_again(settings: SimulationSettings, seen: View, tmp_path: Path):
    path = tmp_path / "sets" / "random_3_seed0.json"
    first = first_clips(settings, seen, "random", 0, path)
    assert json.loads(path.read_text()) == sorted(seen.rows[first].tolist())
    path.write_text(json.dumps([int(row) for row in seen.rows[[5, 1, 9]]]))
    assert first_clips(settings, seen, "random", 0, path) == [1, 5, 9], "what is there is kept"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("[1, 1]", "is no list of different rows"), ("{}", "is no list"), ("[]", "is no list"), ("[0", "is no JSON")],
)
def test_a_list_of_first_clips_that_cannot_be_is_refused(settings, seen: View, tmp_path: Path, content, complaint):
    (tmp_path / "set.json").write_text(content)
    with pytest.raises(OscineError, match=f"set.json {complaint}.*delete it"):
        first_clips(settings, seen, "random", 0, tmp_path / "set.json")


def test_a_list_of_judged_clips_is_refused(settings: SimulationSettings, seen: View, tmp_path: Path):
    judged = next(row for row in range(60) if row not in seen.rows)
    (tmp_path / "set.json").write_text(f"[{judged}]")
    with pytest.raises(OscineError, match=f"lists row {judged}, which is not among the clips to choose from"):
        first_clips(settings, seen, "random", 0, tmp_path / "set.json")


def test_first_clips_grow_until_two_classes_can_be_told_apart(settings: SimulationSettings, seen: View, tmp_path: Path):
    rare = seen._replace(labels=(np.arange(30) == 7).astype(int))
    rule = replace(settings, initial=2, batch=5, batches=4)
    first = first_clips(rule, rare, "random", 0, tmp_path / "set.json")
    assert 2 <= len(first) <= 10
    assert 7 in first or len(first) == 10
    curve = replay(rule, rare, RANDOM, first, seed=0)
    assert curve.labels == [max(len(first), labels) for labels in (2, 7, 12, 17, 22)]


def test_first_clips_that_stay_alike_are_said_and_replayed(settings, seen: View, tmp_path: Path, caplog):
    alike = seen._replace(labels=np.zeros(30, dtype=int))
    assert len(first_clips(settings, alike, "random", 0, tmp_path / "set.json")) == 9, "3 and three batches of 2"
    assert "all 9 clips of the initial set set have the same labels" in caplog.text


def test_typical_first_clips_find_classes_that_lie_apart(settings: SimulationSettings, seen: View, tmp_path: Path):
    """But for the wren, of which three clips are too few for a cluster."""
    first = first_clips(replace(settings, initial=4), seen, "typiclust", 0, tmp_path / "set.json")
    assert {0, 1, 2} <= {*seen.labels[first].tolist()}
