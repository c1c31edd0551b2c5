"""A batch is chosen among as many clips as memory allows, and says what chooses."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.probe.label.loop import batches
from oscine.probe.label.loop.batches import Knowledge, choose_batch, chosen_by
from oscine.probe.label.loop.learner import Labels, learn
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.state import State
from oscine.probe.label.strategies.initial import default_strategy
from tests.probe.label.conftest import CLASSES, make_table


def test_bald_draws_fewer_clips_where_there_are_more_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    table, clips = make_table(90), np.arange(9)
    labels = Labels(clips, np.eye(3)[clips % 3], True)
    knowledge = Knowledge(labels, learn(table.rows[clips], labels, CLASSES), list(range(9, 90)))
    seen = list[int]()

    def look(name: str, state: State, k: int, generator: np.random.Generator) -> np.ndarray:
        seen.append(len(state.candidates))
        assert state.samples is None or state.samples.shape == (len(clips) + seen[-1], batches.SAMPLES, 3)
        return state.candidates[:k]

    monkeypatch.setattr(batches, "choose", look)
    monkeypatch.setattr(batches, "MOST_SAMPLES", 40 * batches.SAMPLES * 3)
    for strategy, expected in (("bald", 40), ("margin", 81)):
        settings = LoopSettings(one_label=True, strategy=strategy, audit=0.0, batch=5)
        chosen = choose_batch(table, knowledge, settings, order=np.arange(90), batch=1)
        assert len({one.number for one in chosen}) == 5
        assert not {one.number for one in chosen} & {*clips.tolist()}
        assert seen.pop() == expected


@pytest.mark.parametrize("one_label", [True, False])
def test_what_chooses_is_said_with_the_reason_of_the_default_alone(one_label: bool) -> None:
    default = default_strategy(not one_label)
    settings = LoopSettings(one_label=one_label)
    assert chosen_by(settings, blind=False) == f"{default.strategy} ({default.reason})"
    assert chosen_by(settings, blind=True).startswith("typiclust until there is something to tell apart, then ")
    assert chosen_by(LoopSettings(one_label=one_label, strategy="margin"), blind=False) == "margin"
