from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oscine.cli.command import Misuse
from oscine.cli.compare import main
from oscine.probe.results import Run, add_run

RUN = Run("esc50", "my_encoder", "linear", 0, {"accuracy": 0.93, "map": 0.96}, {"accuracy": 0.02, "map": 0.01})


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "120")
    add_run(tmp_path / "results.jsonl", RUN)
    add_run(tmp_path / "results.jsonl", replace(RUN, task="my_birds", mean={"accuracy": 0.5}))
    return tmp_path / "results.jsonl"


def test_own_runs_stand_among_the_published_ones(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(results), "--task", "esc50", "--metric", "accuracy"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "±" in line]
    (own,) = (number for number, line in enumerate(lines) if "my_encoder" in line)
    assert "0.930 ± 0.020" in lines[own]
    assert "yours, 1 seed" in lines[own]
    assert "0.931 ± 0.018" in lines[own - 1]  # EAT with a convex gated probe
    assert "arXiv 2602.16305, table 5" in lines[own - 1]
    assert "0.925 ± 0.022" in lines[own + 1]
    assert len(lines) == 17


def test_every_task_has_a_table_and_published_figures_may_be_left_out(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(results), "--own"])
    out = capsys.readouterr().out
    assert out.count("my_encoder") == 2
    assert "my_birds" in out
    assert "arXiv" not in out


def test_an_unknown_task_is_told_so_in_one_line(results: Path) -> None:
    with pytest.raises(Misuse, match="has no runs of 'hsn'; it has esc50, my_birds"):
        main([str(results), "--task", "hsn"])
