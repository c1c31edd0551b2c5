"""No cell that people open is run or steers a terminal, and each is read back as it was meant."""

from __future__ import annotations

import random

import pytest

from oscine.models.cells import as_cell, escape_controls, escape_lines, from_cell, restore_controls, unguarded

LETTERS = "=+-@'\t\r\n\x1b\x07\x00\x7f\x9b;,\"\\x1b5c09 aé＝."


def drawn(count: int = 5000) -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices(LETTERS, k=rng.randrange(9))) for _ in range(count)]


def test_every_text_is_read_back_as_it_was() -> None:
    for text in drawn():
        assert from_cell(as_cell(text)) == text
        assert restore_controls(escape_controls(text)) == text


def test_no_cell_begins_as_a_formula_or_holds_a_control_character() -> None:
    for text in drawn():
        cell = as_cell(text)
        assert cell.isprintable()
        for part in cell.split(";"):
            assert not part.startswith(tuple("=@＝")), cell


@pytest.mark.parametrize(
    "text", ["", "wren", "-5", "+1.5e-3", "-3,5", "a=b", "'tis", "C:\\birds\\a.wav", "pl\\xe4tze.wav"]
)
def test_ordinary_texts_and_numbers_stay_as_they_are(text: str) -> None:
    assert as_cell(text) == from_cell(text) == unguarded(text) == text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("-noise", "'-noise"),
        ("+1+1", "'+1+1"),
        ("wren;@SUM(A1)", "wren;'@SUM(A1)"),
        ("\t=1+1", "\\x09=1+1"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("'=1", "''=1"),
        ("pl\udce4tze", "pl\\xe4tze"),
    ],
)
def test_what_would_be_run_or_steer_is_written_so(text: str, cell: str) -> None:
    assert as_cell(text) == cell


def test_a_text_for_a_terminal_has_its_lines_and_nothing_that_steers_it() -> None:
    assert escape_lines("one\ntwo \x1b]0;title\x07\n") == "one\ntwo \\x1b]0;title\\x07\n"
