"""Progress on a terminal and without one."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from oscine.cli.console import output
from oscine.cli.console.command import say_if_slow
from oscine.cli.console.output import progress_bar
from oscine.models.text.words import duration, length
from oscine.probe.run.context import when_begun


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time is, in seconds, for a test to change."""
    now = [100.0]
    monkeypatch.setattr("oscine.cli.console.output.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("seconds", "said"), [(0.0, ""), (0.8, "oscine embed: finding the recordings ...\n")])
def test_what_takes_more_than_half_a_second_is_said_meanwhile(
    seconds: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with say_if_slow("embed", "finding the recordings"):
        time.sleep(seconds)
    assert capsys.readouterr().err == said


def test_a_log_gets_a_line_at_the_end_of_a_task_and_nothing_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar() as bar:
        update = bar.task("encode")
        update(1, 3)
        update(3, 3, "loss 0.5")
        update(3, 3, "loss 0.5")
    said = capsys.readouterr()
    assert said.err == "encode: 3/3, 1 s, loss 0.5\n"
    assert said.out == ""


def test_a_log_says_now_and_then_how_long_it_will_take(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as bar:
        update = bar.task("encode")
        for done in range(0, 101, 10):
            update(done, 100)
            clock[0] += 12
    assert capsys.readouterr().err.splitlines() == [
        "encode: 30/100, 36 s, 1 min left",
        "encode: 60/100, 1 min, 48 s left",
        "encode: 90/100, 2 min, 12 s left",
        "encode: 100/100, 2 min",
    ]


def test_what_an_earlier_run_has_done_says_nothing_about_the_time_left(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "EVERY", 0.0)
    with progress_bar() as bar:
        update = bar.task("pretrain")
        update(500, 1000)
        clock[0] += 10
        update(600, 1000, "loss 0.5")
    assert capsys.readouterr().err == "pretrain: 500/1000, 1 s\npretrain: 600/1000, 10 s, 40 s left, loss 0.5\n"


def test_a_terminal_gets_bars_that_fit_and_names_stay_as_they_are(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    screen = io.StringIO()
    with progress_bar(Console(file=screen, force_terminal=True, width=80, color_system=None)) as bar:
        update = bar.task("pretrain bird_mae_tiny")
        update(1, 4000)
        clock[0] += 3600
        update(2001, 4000, "loss 0.5 [b]")
        bar.say("[b]0.wav: is empty")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()
    assert "[b]0.wav: is empty" in {line.strip() for line in lines}
    assert re.search(r"pretrain bird_mae_tiny ━+ +2001/4000 \S+ 1 h 0 min left, loss 0.5 \[b\]", lines[-1])
    assert max(len(part) for line in lines for part in line.split("\r")) <= 80
    assert capsys.readouterr() == ("", "")


def test_times_and_sizes_are_said_in_words() -> None:
    said = [duration(seconds) for seconds in (0.2, 40, 59.6, 3540, 7500, 260000)]
    assert said == ["1 s", "40 s", "1 min", "59 min", "2 h 5 min", "3 d 0 h"]
    said = [length(seconds) for seconds in (0, 0.25, 59.99, 90, 3599, 3600, 4_444_200)]
    assert said == ["0 s", "0.25 s", "60 s", "2 min", "1 h 0 min", "1.00 hours", "1234.50 hours"]


def test_a_task_that_may_never_begin_is_added_when_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress_bar(terminal) as bar:
        when_begun(bar, "never")
        update = when_begun(bar, "scores")
        update(1, 2)
        update(2, 2)
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "scores" in shown
    assert "never" not in shown
