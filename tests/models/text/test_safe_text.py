"""No cell that people open is run or steers a terminal, and each is read back as it was meant."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest

from oscine.models.text.safe_text import as_cell, escape_controls, escape_lines, from_cell, restore_controls, unguarded

LETTERS = "=+-@'\t\r\n\x1b\x07\x00\x7f\x9b;,\"\\x1b5c09uU20e8 aé＝.\xad\u2028\u202e\u2066\U000e0041"
# Of Unicode's format characters those that are seen (signs of numbers and verses, hieroglyphs), or that spelling needs.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
JOINERS = {0x200C, 0x200D}


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


def test_characters_that_nobody_sees_are_written_out_but_for_those_that_spelling_needs() -> None:
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) in ("Cf", "Zl", "Zp", "Cc"):
            text = f"Parus{chr(code)}major"
            cell = as_cell(text)
            assert (cell == text) == (code in SEEN | JOINERS), hex(code)
            assert from_cell(cell) == text, hex(code)


@pytest.mark.parametrize(
    "text",
    ["", "wren", "-5", "+1.5e-3", "-3,5", "a=b", "'tis", "C:\\birds\\a.wav", "pl\\xe4tze.wav", "D:\\users\\u00e9"],
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
        ("gnp\u202e3pm.wav", "gnp\\u202e3pm.wav"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("\ufeff=1", "\\ufeff=1"),
    ],
)
def test_what_would_be_run_or_steer_is_written_so(text: str, cell: str) -> None:
    assert as_cell(text) == cell


def test_a_text_for_a_terminal_has_its_lines_and_nothing_that_steers_it() -> None:
    assert escape_lines("one\ntwo \x1b]0;title\x07\n") == "one\ntwo \\x1b]0;title\\x07\n"
