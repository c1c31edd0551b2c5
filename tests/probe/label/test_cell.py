"""A cell with labels is read as people write it, by every command alike."""

from __future__ import annotations

import pytest

from oscine.probe.label.cell import is_nameless, parse_cell
from oscine.probe.label.journal import PRESENT, UNSURE


@pytest.mark.parametrize(
    ("text", "states", "whole"),
    [
        ("wren", {"wren": PRESENT}, True),
        (" wren ; robin? ", {"wren": PRESENT, "robin": UNSURE}, True),
        ("-", {}, True),
        ("no bird", {}, True),
        ("noise; wren", {"wren": PRESENT}, True),
        ("?", {}, False),
        ("??", {}, False),
        ("wren; ?", {"wren": PRESENT}, False),
        ("noise?", {}, False),
    ],
)
def test_a_cell_is_read_as_people_write_it(text: str, states: dict[str, str], whole: bool) -> None:
    assert parse_cell(text) == (states, whole)


def test_what_means_cannot_tell_can_be_called_otherwise() -> None:
    assert parse_cell("wren; unk", ("unk",)) == ({"wren": PRESENT}, False)
    assert parse_cell("wren; junk", ("unk",)) == ({"wren": PRESENT, "junk": PRESENT}, True)


@pytest.mark.parametrize(("text", "nameless"), [(";", True), (" ; ;", True), ("", False), ("-", False), ("?;", False)])
def test_separators_alone_name_nothing(text: str, nameless: bool) -> None:
    assert is_nameless(text) is nameless
