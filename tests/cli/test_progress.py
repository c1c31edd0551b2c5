"""Progress without a terminal."""

from __future__ import annotations

import pytest

from oscine.cli import progress
from oscine.cli.progress import progress_bar


def test_a_log_gets_a_line_at_the_end_of_a_task_and_nothing_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar() as bar:
        update = bar.task("encode")
        update(1, 3)
        update(3, 3, "loss 0.5")
    said = capsys.readouterr()
    assert said.err == "encode: 3/3, 0 s, loss 0.5\n"
    assert said.out == ""


def test_a_log_gets_lines_on_the_way_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress_bar() as bar:
        update = bar.task("encode")
        update(1, 3)
        update(2, 3)
    assert capsys.readouterr().err == "encode: 1/3, 0 s\nencode: 2/3, 0 s\n"
