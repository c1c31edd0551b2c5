"""Write metrics.csv, one row a step, and read the curves in it over all resumptions of a run."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import cast

import pandas as pd
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import one_line
from oscine.pretrain.run.files import LOGS, log_files

METRICS = "metrics.csv"
STEP = "step"  # counted from zero, as Lightning does: what step 0 logs is of the first optimiser step


class MetricsLogger(CSVLogger):
    """Lightning's CSVLogger, but with one row a step, whoever logs what of it, and the step in the first column."""

    @property
    @rank_zero_experiment
    def experiment(self) -> RowWriter:
        if self._experiment is None:
            self._experiment = RowWriter(self.log_dir)
        return cast(RowWriter, self._experiment)


class RowWriter(ExperimentWriter):
    """Writes a step's row when it is first asked to, and the same row again when more of the step is known.

    Whoever is killed loses no row that was written; a new column writes the file anew, whole or not at all.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.path = Path(self.metrics_file_path)
        self.columns: list[str] = []
        self.row: dict[str, float | str] = {}  # of the newest step
        self.begin = 0  # byte of the file at which that row begins

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        if self.row and step != self.row[STEP]:
            self.save()
            self.row, self.begin = {}, self.path.stat().st_size
        values: dict[str, float | str] = {STEP: 0 if step is None else step}
        values |= {key: value.item() if isinstance(value, Tensor) else value for key, value in metrics_dict.items()}
        self.row |= values

    def save(self) -> None:
        if not self.row:
            return
        if not self.row.keys() <= set(self.columns):
            self._widen()
        with self.path.open("r+b") as file:
            file.seek(self.begin)
            file.write(self._lines([self.row]))
            file.truncate()

    def _widen(self) -> None:
        """Write the file anew with the columns that the newest row has brought."""
        self.columns = [STEP, *sorted({*self.columns, *self.row} - {STEP})]
        rows: list[dict[str, float | str]] = []
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row[STEP] != str(self.row[STEP])]
        header = self._lines([dict(zip(self.columns, self.columns))])
        earlier = header + self._lines(rows)
        write_whole(self.path, earlier)
        self.begin = len(earlier)

    def _lines(self, rows: list[dict[str, float | str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


def loss_curve(folder: str | Path) -> pd.DataFrame:
    """Read what a run has logged, one row a logged step, over all resumptions; a step done twice counts as done last."""
    folder = Path(folder)
    parts = log_files(folder / LOGS, METRICS)
    if not parts:
        raise OscineError(f"no {LOGS}/version_*/{METRICS} in {folder}; is it the folder of a pretraining run?")
    try:
        # Oscine 0.1 wrote a row a call of the logger, hence several of one step.
        return pd.concat(map(pd.read_csv, parts)).groupby(STEP).last()
    except (ValueError, LookupError, TypeError) as error:
        raise OscineError(f"{folder / LOGS} holds curves that are not what a run writes ({one_line(error)})") from None
