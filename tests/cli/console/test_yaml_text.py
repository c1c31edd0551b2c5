"""YAML that grows: refused by what is written in it, before values are made of it, with every PyYAML."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import yaml

from oscine.models.errors import Misuse
from oscine.models.text.yaml_text import parse_yaml


def levels(first: str, level: str, times: int = 8, count: int = 12) -> str:
    """YAML whose levels name the one before several times. level: a level, with {} for what it names."""
    named = [", ".join([f"*a{number}"] * times) for number in range(count)]
    return f"a0: &a0 {first}\n" + "".join(
        f"a{number}: &a{number} {level.format(names)}\n" for number, names in enumerate(named, 1)
    )


BOMBS = {
    "merge keys": levels("{x: 1, y: 2}", "{{<<: [{}]}}"),
    "aliases": levels("[x, y]", "[{}]"),
    "aliases in mappings": levels("x", "{{k: [{}]}}"),
    "itself": "a: &a [*a]",
    "itself by a merge key": "a: &a {<<: *a, b: 1}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_yaml_that_grows_without_bounds_is_refused_in_little_time_and_memory(
    bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(yaml.SafeLoader, "construct_document", lambda loader, node: made.append(node))
    begun = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(
            Misuse, match=r"bomb.yaml is nested more than 20 deep or holds more than 1,000,000 values; mend"
        ):
            parse_yaml(BOMBS[bomb], "bomb.yaml", "mend it")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not made
    assert time.monotonic() - begun < 20
    assert peak < 200e6


def test_a_name_for_what_is_written_elsewhere_is_read() -> None:
    text = "fit: &fit {lr: 0.1, steps: 3}\nother: {<<: *fit, steps: 4}\nagain: [*fit, *fit]\n"
    fit = {"lr": 0.1, "steps": 3}
    assert parse_yaml(text, "mine.yaml", "") == {"fit": fit, "other": fit | {"steps": 4}, "again": [fit, fit]}


@pytest.mark.parametrize("text", ["", "# a comment\n", "---\n", "null"])
def test_yaml_with_nothing_in_it_is_told_as_that(text: str) -> None:
    with pytest.raises(Misuse, match=r"empty.yaml holds nothing, expected keys with values; see the shipped ones"):
        parse_yaml(text, "empty.yaml", "see the shipped ones")
