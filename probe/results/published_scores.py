"""Published figures of frozen and fine-tuned encoders, each with its source, to be held beside one's own.

They stand in published_scores.csv. The model card of Bird-MAE was not compared with the paper itself, whose tables could not
be had; three columns of Bird-MAE agree with what is quoted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_suffix(".csv")


class Figure(NamedTuple):
    """A published score, in [0, 1] as our own; spread is a standard deviation or None. Metrics as in `Metrics`."""

    task: str
    metric: str
    encoder: str
    probe: str
    value: float
    spread: float | None
    source: str


def published_figures() -> Iterator[Figure]:
    """Every published figure, in the order of the table, which holds percent."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            spread = float(row["spread"]) / 100 if row["spread"] else None
            named = (row["task"], row["metric"], row["encoder"], row["probe"])
            yield Figure(*named, float(row["percent"]) / 100, spread, row["source"])
