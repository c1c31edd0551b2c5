"""Strategies are read with their options; what cannot be simulated is refused before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oscine.models.errors import Misuse, OscineError
from oscine.probe.label.simulation.settings import (
    SimulationSettings,
    StrategyCall,
    check_simulation,
    parse_strategies,
)
from oscine.probe.tasks.settings import TaskSettings


def test_strategies_come_with_options_and_random_is_always_the_first():
    text = "margin, bait:weighting=sum, refine:members=[margin,badge]:draws=2, coreset:unit=true"
    assert parse_strategies(text) == [
        StrategyCall("random", "random", {}),
        StrategyCall("margin", "margin", {}),
        StrategyCall("bait:weighting=sum", "bait", {"weighting": "sum"}),
        StrategyCall("refine:members=[margin,badge]:draws=2", "refine", {"members": ["margin", "badge"], "draws": 2}),
        StrategyCall("coreset:unit=true", "coreset", {"unit": True}),
    ]
    assert parse_strategies("mine:loudest:first=2")[1] == ("mine:loudest:first=2", "mine:loudest", {"first": 2})
    assert [call.text for call in parse_strategies("margin,random")] == ["random", "margin"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("margin, margin", "the strategy margin is named twice"),
        ("bait:weighting=sum:mean", "'mean' is no OPTION=VALUE, such as bait:weighting=sum"),
    ],
)
def test_strategies_that_cannot_be_read_are_refused(text, complaint):
    with pytest.raises(Misuse, match=complaint):
        parse_strategies(text)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"batch": 0}, "batch is 0, expected 1 or more"),
        ({"components": 0}, "components is 0, expected 1 or more"),
        ({"C": 0.0}, "C is 0, expected more than 0"),
        ({"norm": -1.0}, "norm is -1, expected more than 0"),
        ({"embeddings": []}, "no table of embeddings; oscine embed FOLDER"),
        ({"strategies": "margn"}, "no strategy 'margn'"),
        ({"initial_sets": "random, tipiclust"}, "no initial set 'tipiclust'"),
        ({"initial_sets": "random, random"}, "expected different names"),
        ({"table": None}, "give --table FILE.csv"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: SimulationSettings, given: dict[str, Any], complaint: str):
    with pytest.raises(Misuse, match=re.escape(complaint)):
        check_simulation(replace(settings, **given))


def test_tables_that_are_not_there_or_share_a_name_are_refused(
    settings: SimulationSettings, place: Path, tmp_path: Path
):
    with pytest.raises(OscineError, match=r"no table .*gone.parquet; check the path"):
        check_simulation(replace(settings, embeddings=[place / "gone.parquet"]))
    with pytest.raises(Misuse, match="two encoders are called sharp, each by the name of its table"):
        check_simulation(replace(settings, embeddings=[place / "sharp.parquet", tmp_path / "sharp.parquet"]))
    with pytest.raises(Misuse, match="two encoders are called log_mel"):
        check_simulation(replace(settings, embeddings=[place / "log_mel.parquet"]))


def test_events_in_recordings_are_no_clips_to_label(settings: SimulationSettings, place: Path):
    asked = replace(settings, table=None, data=place, task=TaskSettings(name="dcase2016"))
    with pytest.raises(Misuse, match="dcase2016 asks for events in recordings"):
        check_simulation(asked)
