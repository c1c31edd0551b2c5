"""Names of classes that a slip of the hand made two are named; names that are two are left alone."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.tasks.class_names import as_known, check_names, find_near, find_same


def near(*names: str) -> list[set[str]]:
    return [{*pair} for pair in find_near(names)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rooster", "Rooster"), ("great tit", "Great-Tit"), ("great_tit", "great tit"), ("wren", "wren  "),
        ("Gru\u0308nfink", "Gr\u00fcnfink"), ("OWL", "owl"),
    ],
)  # fmt: skip
def test_names_that_differ_in_case_or_spaces_are_the_same(one: str, other: str) -> None:
    assert find_same([one, "robin", other]) == [[one, other]]
    assert not find_near([one, "robin", other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rooster", "Roostre"), ("rooster", "roosters"), ("rooster", "roster"), ("magpie", "magpei"), ("robin", "robbin"),
        ("Turdus merula", "Turdus mreula"), ("Phylloscopus collybita", "Phylloscopus colybita"), ("chaffinch", "chafinch"),
        ("House Sparrow", "House Sparow"),
    ],
)  # fmt: skip
def test_a_slip_of_the_hand_is_near(one: str, other: str) -> None:
    assert near(one, "owl", other, "wren") == [{one, other}]


@pytest.mark.parametrize(
    "names",
    [
        ("owl", "cow"), ("cat", "bat", "rat", "cot"), ("tern", "teal", "wren", "when"), ("song_1", "song_2", "song_10"),
        ("song type A", "song type B"), ("1", "2", "10", "11"), ("male", "female"), ("dog", "dogs", "fog"),
        ("marsh tit", "marsh wren"), ("house wren", "mouse wren"), ("Parus major", "Parus minor"), ("amecro", "amerob"),
        ("amecro", "fiscro"), ("BCCH", "BCHC"), ("norcar", "norcas"), ("year 2021", "year 2022"), ("light", "night"),
        ("Western Grebe", "Eastern Grebe"), ("recording1234567", "recording1234568"),
    ],
)  # fmt: skip
def test_names_that_are_two_are_left_alone(names: tuple[str, ...]) -> None:
    assert not find_near(names)
    assert not find_same(names)


def test_thousands_of_codes_are_looked_through_at_once_and_none_is_near() -> None:
    rng = np.random.default_rng(0)
    letters = rng.choice(list("aeioulnrstbcdgm"), (40_000, 6))
    codes = sorted({"".join(row) for row in letters})[:9000]
    names = [f"{one} {other}" for one, other in zip(codes, reversed(codes), strict=True)]
    begin = time.process_time()
    assert not find_near(codes)
    assert not find_same(codes)
    find_near([f"{name}aceae" for name in names])
    assert time.process_time() - begin < 5


def test_clips_are_counted_in_one_line_a_kind(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_names({"rooster": 40, "Rooster": 3, "Roostre": 1, "owl": 9, "NA": 2}, "labels.csv")
    assert caplog.messages == [
        "labels.csv: classes that differ in case, accents or spaces alone: rooster (40 clips) and Rooster (3 clips); write "
        "them alike if they are one",
        "labels.csv: classes that are spelt nearly alike: Roostre (1 clip) and rooster (40 clips); correct them if they are "
        "one",
        "labels.csv: NA is taken for the name of a class (2 clips); R writes it for no value",
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]
    caplog.clear()
    check_names(dict.fromkeys(["wren", "owl", "tit"], 5), "labels.csv")
    assert not caplog.messages


def test_a_name_in_another_case_is_the_class_where_one_alone_can_be_meant(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert as_known(["Robin", "wren"], ["wren", "robin", "owl"]) == ["robin", "wren"]
    assert caplog.messages == ["classes are named as the probe has them: robin for Robin"]
    assert as_known(["Owl"], ["owl", "Owl"]) == ["Owl"]
    with pytest.raises(OscineError, match="no class OWL"):
        as_known(["OWL"], ["owl", "Owl"])
    with pytest.raises(OscineError, match="class robin is named twice"):
        as_known(["robin", "Robin"], ["robin", "wren"])
