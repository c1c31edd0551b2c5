"""Names of classes go through tables and queues, so what means something there is no name."""

from __future__ import annotations

import pytest

from oscine.models.errors import OscineError
from oscine.probe.label.class_names import check_asked
from oscine.probe.label.queue.filled import parse_labels


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


def test_names_that_pass_come_through_a_queue_as_they_are() -> None:
    names = ["Größer Wren & Co", "why? bird", "小鳥", "Turdus merula (song)", '<b>"wren", grey</b>']
    check_asked(names, "birds.txt", "correct it")
    assert [*parse_labels(";".join(names))] == names


def test_two_names_of_one_list_that_differ_in_case_alone_are_refused() -> None:
    with pytest.raises(OscineError, match=r"birds.txt has the name 'Wren', which is nearly 'wren'"):
        check_asked(["wren", "Wren"], "birds.txt", "correct the list")
