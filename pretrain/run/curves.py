"""Draw curves.png: loss, learning rate, health and probe scores of a run over its steps."""

from __future__ import annotations

import io
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.pretrain.run.callbacks import EveryNSteps
from oscine.pretrain.run.files import LOGS, PICTURES, log_files
from oscine.pretrain.run.metrics import METRICS, loss_curve

logger = logging.getLogger(__name__)

CURVES = "curves.png"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # of Okabe and Ito, which the colour-blind tell apart, too
DASHES = ("-", "--", "-.", ":")  # and who prints in grey
INK, LINES = "#1f2a33", "#d5d9dd"
MARKED = 40  # steps at most whose points are marked: a score of one step alone has no line
# The axes by what is on them, and the names in the log; a figure that is none of these has axes of its own.
LOSS, RATE, SPREAD, ACCURACY, MAP = "loss", "learning rate", "standard deviation\nover clips", "accuracy", "cmAP"
NAMED = {
    "health/grad_norm": "norm of the gradient\nbefore clipping",
    "health/feature_rank": "effective rank\nof the patches",
    "health/feature_std": SPREAD,
    "health/target_std": SPREAD,
    "health/teacher_decay": "decay of the teacher",
}
ORDERS_OF_MAGNITUDE = {NAMED["health/grad_norm"]}


class Curves(EveryNSteps):
    """Draws `folder`/pictures/curves.png at the first step, every so many, and at the end; over all resumptions of a run."""

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(every)
        self.folder = folder

    def after_step(self, trainer: Trainer, recipe: Any, batch: Any) -> None:
        self.write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer)

    def write(self, trainer: Trainer) -> None:
        # Of the first steps nothing may be logged.
        if not trainer.is_global_zero or not log_files(self.folder / LOGS, METRICS):
            return
        try:
            curve = loss_curve(self.folder)
            figure = draw(curve, self.folder.name)
            if figure:
                png = io.BytesIO()
                figure.savefig(png, format="png", metadata={"Software": None})
                (self.folder / PICTURES).mkdir(parents=True, exist_ok=True)
                write_whole(self.folder / PICTURES / CURVES, png.getvalue())
        except (OSError, OscineError) as error:  # no picture is worth a run
            logger.warning("no curves at step %d: %s", trainer.global_step, error)


def draw(curve: pd.DataFrame, title: str) -> Figure | None:
    """Draw one axes a quantity, two in a row, over the optimiser steps; None while nothing is logged."""
    values = curve.drop(columns="epoch", errors="ignore").replace([np.inf, -np.inf], np.nan).dropna(axis=1, how="all")
    rates = [column for column in values.columns if axis_of(column) == RATE]
    values = values.drop(columns=[rate for rate in rates[1:] if values[rate].equals(values[rates[0]])])  # of all groups
    plots: dict[str, list[str]] = {}
    for column in sorted(values.columns, key=_order):
        plots.setdefault(axis_of(column), []).append(column)
    if not plots:
        return None
    rows = math.ceil(len(plots) / 2)
    figure = Figure(figsize=(10, 0.5 + 2.5 * rows), dpi=100, facecolor="white", layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK)
    every = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, (name, columns) in zip(every, plots.items()):
        axes.set_facecolor("white")
        for number, column in enumerate(columns):
            points = values[column].dropna()
            axes.plot(
                points.index + 1, points, color=COLOURS[number % 4], linestyle=DASHES[number % 4],
                linewidth=1.3, marker="o" if len(points) <= MARKED else "", markersize=3, label=label_of(column),
            )  # fmt: skip
        if name in ORDERS_OF_MAGNITUDE and (values[columns].min() > 0).all():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if name in (ACCURACY, MAP):
            axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("optimiser steps", color=INK)
        axes.set_ylabel(name, color=INK)
        axes.grid(color=LINES, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
        if len(columns) > 1:
            axes.legend(frameon=False, labelcolor=INK)
    for axes in every[len(plots) :]:
        axes.set_visible(False)
    figure.align_ylabels()
    return figure


def axis_of(column: str) -> str:
    """Name the axis that a column of metrics.csv is drawn on."""
    if column == "loss" or column.startswith("loss/"):
        return LOSS
    if column.startswith("lr-"):
        return RATE
    if column.startswith("probe/"):
        metric = column.removeprefix("probe/").rpartition("_")[0]
        return {"accuracy": ACCURACY, "cmap": MAP}.get(metric, metric or column)
    return NAMED.get(column, column.removeprefix("health/").replace("_", " "))


def label_of(column: str) -> str:
    """Name a curve beside others on the same axes."""
    known = {"loss": "sum", "health/feature_std": "features", "health/target_std": "targets"}
    kind, _, name = column.partition("/")
    if kind == "probe":
        return {"knn": "k-NN", "linear": "logistic regression"}.get(name.rpartition("_")[2], name)
    return known.get(column, name or column)


def _order(column: str) -> tuple[int, str]:
    """Sort loss and learning rate first, then probes, then health."""
    kinds = ("loss", "lr-", "probe/", "health/")
    return next((place for place, kind in enumerate(kinds) if column.startswith(kind)), len(kinds)), column
