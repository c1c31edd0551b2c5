"""Functions of other people are found by name, as classes are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oscine.models.errors import OscineError
from oscine.models.plugins.functions import Functions, options_of
from oscine.models.plugins.load import allow_plugin

PLUGIN = "def loudest(clips, count, *, softly=False):\n    return clips[:count]\n\n\nclass Loud:\n    pass\n"


@pytest.fixture
def rules(door: Iterator[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Functions[Callable[..., Any]]:
    monkeypatch.chdir(tmp_path)
    return Functions("rule", ("clips", "count"), "oscine.models", {"show_nothing": "progress"})


def test_a_function_of_a_plugin_is_found_by_its_name_and_with_its_module(rules: Functions[Callable[..., Any]]) -> None:
    Path("wrens.py").write_text(PLUGIN)
    with pytest.raises(OscineError, match=r"^no rule 'wrens:loudest'; expected one of show_nothing, or module:name of"):
        rules["wrens:loudest"]
    allow_plugin("wrens.py")
    assert rules["loudest"] is rules["wrens:loudest"]
    assert rules["loudest"]([3, 1, 2], 2) == [3, 1]
    assert [*rules] == ["show_nothing"]  # it was not registered
    with pytest.raises(OscineError, match=r"^no rule 'Loud'"):
        rules["Loud"]


def test_what_does_not_take_what_all_take_is_refused(rules: Functions[Callable[..., Any]]) -> None:
    def loudest(clips: list[int], *, count: int) -> list[int]:
        return clips[:count]

    with pytest.raises(
        OscineError, match=r"^loudest is no rule; expected a function of \(clips, count\) and of options"
    ):
        rules.register(loudest)
    with pytest.raises(OscineError, match=r"^3 is no rule"):
        rules.register(3)  # type: ignore[arg-type]


def test_options_are_what_is_taken_by_name_alone() -> None:
    def one(state: object, k: int, *, unit: bool = False, rule: str = "") -> None: ...

    def other(state: object, k: int, **options: object) -> None: ...

    assert options_of(one) == {"unit", "rule"}
    assert options_of(other) is None
