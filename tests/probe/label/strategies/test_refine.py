"""REFINE keeps only what its members propose, round by round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label import State, choose, register_strategy
from oscine.probe.label.strategies import refine
from oscine.probe.label.strategies.refine import MEMBERS, proposed


class Given:
    """Stands for a generator whose draws are known."""

    def __init__(self, draws: np.ndarray) -> None:
        self.left = [row[row >= 0] for row in draws]

    def choice(self, clips: np.ndarray, size: int, replace: bool) -> np.ndarray:
        assert not replace
        drawn = self.left.pop(0)
        assert len(drawn) == size
        assert {*drawn} <= {*clips}
        return drawn


def test_rounds_and_picks_are_those_of_the_reference_for_the_same_draws(query, one_label, monkeypatch):
    monkeypatch.setattr(refine, "FIRST", 30)
    rounds = []
    monkeypatch.setattr(refine, "proposed", lambda *given, **how: rounds.append(proposed(*given, **how)) or rounds[-1])
    draws: Any = Given(query["refine.draws"])
    chosen = choose("refine", one_label, 6, draws, members=["margin", "coreset"], rounds=3, draws=2)
    assert chosen.tolist() == query["refine.picks"].tolist()
    assert [pool.tolist() for pool in rounds] == [pool[pool >= 0].tolist() for pool in query["refine.pools"]]
    assert not draws.left


def test_every_round_is_part_of_the_one_before_and_was_proposed(one_label, generator, monkeypatch):
    rounds, said = [one_label.candidates], []

    def listened(name: str, state: State, k: int, draw: np.random.Generator) -> np.ndarray:
        said.extend(chosen := choose(name, state, k, draw))
        return chosen

    def watched(*given: Any, **how: Any) -> np.ndarray:
        rounds.append(proposed(*given, **how))
        assert {*rounds[-1]} == {*said}
        assert {*rounds[-1]} <= {*rounds[-2]}
        said.clear()
        return rounds[-1]

    monkeypatch.setattr(refine, "choose", listened)
    monkeypatch.setattr(refine, "proposed", watched)
    chosen = choose("refine", one_label, 5, generator, members=["margin", "random", "badge"], rounds=4, draws=3)
    assert len(rounds) == 5
    assert {*chosen} <= {*rounds[-1]}


def test_clips_that_no_member_likes_are_gone(one_label, generator):
    """The surest clips are never among those of least margin, however often members are asked."""
    surest = choose("margin", one_label, 48, generator)[-15:]
    first = proposed(one_label, 6, generator, members=["margin", "least_confidence"], draws=5, size=30)
    second = proposed(one_label.among(first), 6, generator, members=["margin"], draws=5, size=len(first))
    assert not {*second} & {*surest}


def test_a_member_that_draws_nothing_is_asked_once_where_it_is_shown_all(one_label, generator, monkeypatch):
    asked = []
    monkeypatch.setattr(refine, "choose", lambda name, *given: asked.append(name) or choose(name, *given))
    proposed(one_label, 6, generator, members=["margin", "badge"], draws=4, size=48)
    assert asked == ["margin"] + ["badge"] * 4
    asked.clear()
    proposed(one_label, 6, generator, members=["margin"], draws=4, size=47)
    assert asked == ["margin"] * 4


def test_a_strategy_of_ones_own_is_a_member(one_label, generator, door):
    @register_strategy
    def lowest(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
        return state.candidates[:k]

    assert (
        proposed(one_label, 2, generator, members=["lowest"], draws=1, size=48).tolist()
        == one_label.candidates[:2].tolist()
    )


def test_no_more_than_so_many_are_kept(one_label, generator, monkeypatch):
    monkeypatch.setattr(refine, "MOST", 7)
    kept = proposed(one_label, 6, generator, members=["random"], draws=4, size=48)
    assert len(kept) == 7
    assert kept.tolist() == sorted({*kept.tolist()})


def test_the_published_members_are_the_default(one_label, generator, monkeypatch):
    asked = []
    monkeypatch.setattr(refine, "choose", lambda name, *given: asked.append(name) or choose(name, *given))
    choose("refine", one_label, 3, generator, rounds=1)
    assert {*asked} == {*MEMBERS[False]}
    assert asked.count("random") == 11  # of 100 questions for nine members


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"members": []}, r"members of refine are \[\], expected a list of other strategies"),
        ({"members": "margin"}, "members of refine are 'margin'"),
        ({"members": ["refine"]}, r"members of refine are \['refine'\]"),
        ({"members": ["margn"]}, "no strategy 'margn'"),
        ({"rounds": 0}, "refine with rounds 0, draws 11, alpha 0.4; expected 1 or more, 1 or more, and above 0 to 1"),
        ({"alpha": 1.5}, "refine with rounds 5, draws 11, alpha 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said, one_label, generator):
    with pytest.raises(OscineError, match=f"^{said}"):
        choose("refine", one_label, 3, generator, **options)
