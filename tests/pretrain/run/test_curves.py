"""curves.png shows what a run has logged, by name, and no fault of a log ends a run."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from oscine.pretrain.run.curves import Curves, draw
from oscine.pretrain.run.metrics import MetricsLogger

TRAINER = SimpleNamespace(is_global_zero=True, global_step=7)


def curve(steps: int) -> pd.DataFrame:
    falling = np.linspace(2, 1, steps)
    columns = (
        "epoch",
        "loss",
        "loss/local",
        "loss/global",
        "lr-AdamW/pg1",
        "lr-AdamW/pg2",
        "health/feature_std",
        "health/target_std",
    )
    columns += ("health/feature_rank", "probe/accuracy_knn", "probe/accuracy_linear")
    return pd.DataFrame(dict.fromkeys(columns, falling), index=pd.RangeIndex(steps, name="step"))


def test_every_quantity_has_named_axes_and_what_compares_is_on_the_same(tmp_path: Path) -> None:
    figure = draw(curve(50), "run")
    assert figure is not None
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_ylabel().replace("\n", " ") for axes in shown] == [
        "loss", "learning rate", "accuracy", "effective rank of the patches", "standard deviation over clips",
    ]  # fmt: skip
    assert {axes.get_xlabel() for axes in shown} == {"optimiser steps"}
    legends = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in shown if axes.get_legend()]
    assert legends == [["sum", "global", "local"], ["k-NN", "logistic regression"], ["features", "targets"]]
    for axes in shown:
        assert len({line.get_color() for line in axes.lines}) == len({line.get_linestyle() for line in axes.lines})
        assert list(axes.lines[0].get_xdata()) == list(range(1, 51)), "steps count from one"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_of_what_is_no_number_nothing_is_drawn(bad: float) -> None:
    broken = curve(5)
    broken.loc[2:] = bad
    figure = draw(broken, "run")
    assert figure is not None
    assert len(figure.axes[0].lines[0].get_xdata()) == 2
    assert draw(broken.loc[3:], "run") is None


def test_curves_are_drawn_over_all_resumptions_on_a_light_ground(tmp_path: Path) -> None:
    for part in range(2):
        log = MetricsLogger(tmp_path, name="logs", flush_logs_every_n_steps=1)
        for step in range(3):
            log.log_metrics({"loss": 1.0 + step}, 3 * part + step)
    Curves(tmp_path, 1).write(TRAINER)  # type: ignore[arg-type]
    pixels = imread(tmp_path / "pictures" / "curves.png")
    assert (pixels[0, 0, :3] == 1).all()
    assert pixels[..., :3].min() < 0.5


def test_a_log_that_cannot_be_read_is_said_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Curves(tmp_path, 1).write(TRAINER)  # type: ignore[arg-type]
        assert not caplog.text, "nothing is logged yet"
        (tmp_path / "logs/version_0").mkdir(parents=True)
        (tmp_path / "logs/version_0/metrics.csv").write_text("a,b\n1,2\n")
        Curves(tmp_path, 1).write(TRAINER)  # type: ignore[arg-type]
    assert "no curves at step 7: " in caplog.text
    assert not (tmp_path / "pictures").exists()
