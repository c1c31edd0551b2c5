"""metrics.csv has one row a step, and curves are the same whoever wrote the rows, killed or not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from oscine.models.errors import OscineError
from oscine.pretrain.run.metrics import MetricsLogger, loss_curve


def logger(run: Path) -> MetricsLogger:
    return MetricsLogger(run, name="logs", flush_logs_every_n_steps=1)


def lines(run: Path, version: int = 0) -> list[str]:
    return (run / f"logs/version_{version}/metrics.csv").read_text().splitlines()


def test_all_that_is_logged_of_a_step_is_one_row_and_the_step_comes_first(tmp_path: Path) -> None:
    log = logger(tmp_path)
    for step in range(3):
        log.log_metrics({"lr-AdamW": 0.5**step}, step)
        if step != 1:
            log.log_metrics({"health/feature_rank": torch.tensor(7.0)}, step)
        log.log_metrics({"loss": 3.0 - step}, step)
    assert lines(tmp_path) == [
        "step,health/feature_rank,loss,lr-AdamW",
        "0,7.0,3.0,1.0",
        "1,,2.0,0.5",
        "2,7.0,1.0,0.25",
    ]
    curve = pd.read_csv(tmp_path / "logs/version_0/metrics.csv")
    assert list(curve["loss"]) == [3, 2, 1]


def test_whoever_is_killed_has_written_all_that_was_logged(tmp_path: Path) -> None:
    log = logger(tmp_path)
    log.log_metrics({"loss": 1.0}, 0)
    assert lines(tmp_path) == ["step,loss", "0,1.0"]
    log.log_metrics({"loss": 0.12345678}, 10)
    log.log_metrics({"loss": 2.0}, 10)
    assert lines(tmp_path) == ["step,loss", "0,1.0", "10,2.0"], "a shorter row leaves nothing of the longer one"
    log.log_metrics({"probe/accuracy_knn": 0.5}, 10)
    assert lines(tmp_path) == ["step,loss,probe/accuracy_knn", "0,1.0,", "10,2.0,0.5"]


def test_what_was_logged_by_the_version_before_is_read_and_gone_on_with(tmp_path: Path) -> None:
    old = tmp_path / "logs/version_0/metrics.csv"
    old.parent.mkdir(parents=True)
    old.write_text("health/feature_rank,loss,lr-AdamW,step\n,,0.1,0\n9.0,,,0\n,5.0,,0\n,,0.2,1\n,4.0,,1\n")
    log = logger(tmp_path)
    assert log.version == 1
    log.log_metrics({"loss": 3.5, "lr-AdamW": 0.2}, 1)
    log.log_metrics({"loss": 3.0, "lr-AdamW": 0.3}, 2)
    curve = loss_curve(tmp_path)
    assert list(curve.index) == [0, 1, 2]
    assert list(curve["loss"]) == [5, 3.5, 3]
    assert list(curve["lr-AdamW"]) == [0.1, 0.2, 0.3]
    assert curve["health/feature_rank"].dropna().to_dict() == {0: 9.0}


def test_what_is_no_curve_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"no logs/version_.*is it the folder of a pretraining run"):
        loss_curve(tmp_path)
    (tmp_path / "logs/version_0").mkdir(parents=True)
    (tmp_path / "logs/version_0/metrics.csv").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(OscineError, match="holds curves that are not what a run writes"):
        loss_curve(tmp_path)
