"""A run that is stopped between its scores and its report is finished by the same call; what is left is said."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from oscine.cli import dispatch
from oscine.probe.results.runs import read_runs
from oscine.probe.run import judge_task
from tests.forked import FORK, Ended, Program
from tests.two_tones import write_two_tones

pytestmark = pytest.mark.skipif(FORK is None, reason="this system cannot fork")
RUN = Path("runs/probe/linear")
CALL = [
    *"probe linear --table tones.csv --encoder bat_tiny --random_weights --seconds 0.6 --workers 0".split(),
    *"--fit.steps 10".split(),
]


@pytest.fixture(autouse=True)
def _two_tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight clips of two tones in two folds, in the folder in which each test works."""
    monkeypatch.chdir(tmp_path)
    write_two_tones(tmp_path, 8)


def stop_at(function: str, number: signal.Signals) -> None:
    """Send this process a signal where a function of a run would be called."""
    setattr(judge_task, function, lambda *_, **__: os.kill(os.getpid(), number))


def stopped(call: Sequence[str], *, at: str, by: signal.Signals) -> Ended:
    return Program([*call], before=partial(stop_at, at, by)).end()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_stopped_after_its_scores_is_finished_by_the_same_call(
    by: signal.Signals, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="oscine")
    end = stopped(CALL, at="write_predictions", by=by)
    if by == signal.SIGTERM:
        assert end.code == 128 + by
        assert end.err.endswith(
            f"oscine probe: stopped; {RUN} has its scores; the same call makes its probe and report\n"
        )
    before = json.loads((RUN / "scores.json").read_text())
    assert not (RUN / "report.html").exists()

    assert dispatch(["predict", ".", "--probe", str(RUN), "--out", "out.parquet"]) == 1
    assert "where it was stopped, the same call of oscine probe finishes it" in capsys.readouterr().err
    assert dispatch([*CALL, "--fit.seed", "3"]) == 1, "other settings replace nothing"
    assert "scores.json exists; --overwrite replaces it" in capsys.readouterr().err

    assert dispatch([*CALL, "--store_gb", "50"]) == 0, "how fast it goes is not what it is"
    assert f"{RUN} was stopped before its probe and report were written" in caplog.text
    after = json.loads((RUN / "scores.json").read_text())
    assert before | {"settings": None} == after | {"settings": None}
    assert {"report.html", "predictions.csv", "probe"} <= {path.name for path in RUN.iterdir()}
    assert len(read_runs("runs/probe/results.jsonl")) == 1
    assert dispatch(CALL) == 1, "it is finished"
    assert "scores.json exists" in capsys.readouterr().err


def test_a_run_stopped_before_its_scores_says_which_call_goes_on() -> None:
    end = stopped(CALL, at="assess", by=signal.SIGTERM)
    kept = "features that were encoded are kept below runs/features; the same call goes on with them"
    assert end.err.endswith(f"oscine probe: stopped; {kept}\n")
    end = stopped([*CALL, "--store", "null"], at="assess", by=signal.SIGTERM)
    assert end.err.endswith("oscine probe: stopped; the same call begins anew\n")


def test_a_stopped_fine_tuning_goes_on_with_resume(capsys: pytest.CaptureFixture[str]) -> None:
    call = ["probe", "finetune/bat", *CALL[2:], "--fit.batch_size", "4", "--fit.warmup", "1"]
    end = stopped(call, at="write_predictions", by=signal.SIGTERM)
    folder = Path("runs/probe/bat_finetuned")
    assert end.err.endswith(f"oscine probe: stopped; {folder / 'states'} has how far it was; --resume goes on\n")
    assert dispatch(call) == 1
    assert "its run was stopped: --resume goes on" in capsys.readouterr().err
    assert dispatch([*call, "--resume"]) == 0
    assert (folder / "probe/probe.json").exists()
