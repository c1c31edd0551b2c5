"""A table of clips whose classes can be told apart, without sound; a generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oscine.probe.label.journal import PRESENT, Clip
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.loop import Given, LabelLoop
from oscine.probe.label.loop.settings import LoopSettings

CLASSES = ["dunnock", "robin", "wren"]


def make_table(clips: int = 90, seed: int = 0) -> ClipTable:
    """Clips of three classes in turn, a recording of three clips each; one of a class lies near the others of it."""
    generator = np.random.default_rng(seed)
    centres = 3 * generator.normal(size=(3, 12))
    features = centres[np.arange(clips) % 3] + generator.normal(size=(clips, 12))
    places = [Clip(f"wood/{number // 3}.wav", number % 3 * 5.0, number % 3 * 5.0 + 5) for number in range(clips)]
    return ClipTable(Path("birds.parquet"), places, features.astype(np.float32), "embedding", {}, "f00d")


def truth(number: int) -> str:
    """The class of a clip."""
    return CLASSES[number % 3]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def table() -> ClipTable:
    return make_table()


@pytest.fixture
def begin(table: ClipTable, tmp_path: Path) -> Callable[..., LabelLoop]:
    """Begin a loop, or go on with the one of before, on the same folder."""

    def begin(people: tuple[str, ...] = ("anna",), table: ClipTable = table, **settings: object) -> LabelLoop:
        made = LabelLoop(
            table, tmp_path / "labels", CLASSES, LoopSettings(**settings),  # type: ignore[arg-type]
            recordings=[clip.recording for clip in table.clips],
        )  # fmt: skip
        for who in people:
            made.join(who)
        made.wait()
        return made

    return begin


def label(loop: LabelLoop, who: str = "anna", count: int = 1) -> list[int]:
    """Answer clips as they come, with the truth; return their numbers."""
    numbers = []
    for _ in range(count):
        number = loop.ahead(who)[0].number
        loop.answer(who, number, Given({truth(number): PRESENT}, taken=2.0))
        loop.wait()
        numbers.append(number)
    return numbers
