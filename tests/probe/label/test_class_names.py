"""Names of classes go through tables and queues, so what means something there is no name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pandas import DataFrame

from oscine.models.errors import OscineError
from oscine.probe.label.class_names import check_asked
from oscine.probe.label.votes.read import read_votes


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("robin;wren", "has the name 'robin;wren', and ';' stands between the names"),
        ("a\nb", r"has the name 'a\\nb', with a line break"),
        ("robin?", "behind a name says that somebody is unsure"),
        ("Noise", "which says that nothing sounds"),
        ("-", "which says that nothing sounds"),
        ("Robin", "'Robin', which is nearly 'robin'; give another"),
        ("Eurasian_wren", "nearly 'Eurasian wren'"),
        ("  ", "expected 1 to 1000 letters"),
    ],
)
def test_a_name_that_means_something_else_in_a_table_is_refused_with_the_reason(name: str, complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        check_asked([name], "the new class", "give another name", ["robin", "Eurasian wren"])


def test_names_that_pass_come_through_a_table_as_they_are(tmp_path: Path) -> None:
    names = ["Größer Wren & Co", "why? bird", "小鳥", "Turdus merula (song)", '<b>"wren", grey</b>']
    check_asked(names, "birds.txt", "correct it")
    (tmp_path / "a.wav").touch()
    DataFrame({"path": ["a.wav"], "labels": [";".join(names)]}).to_csv(tmp_path / "anna.csv", index=False)
    votes = read_votes([tmp_path / "anna.csv"])
    assert votes.classes == sorted(names)
    assert votes.said.all()


def test_two_names_of_one_list_that_differ_in_case_alone_are_refused() -> None:
    with pytest.raises(OscineError, match=r"birds.txt has the name 'Wren', which is nearly 'wren'"):
        check_asked(["wren", "Wren"], "birds.txt", "correct the list")
