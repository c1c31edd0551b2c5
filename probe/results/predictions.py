"""Write and read what a probe predicts for every judged row: a Parquet to compare runs, a CSV for Excel and R."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pandas import DataFrame
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.text.safe_text import as_cell
from oscine.probe.fit.judge import Judgement
from oscine.probe.metrics.decisions import as_probabilities
from oscine.probe.results.run_files import KIND, LOGIT, check_predictions
from oscine.probe.tasks.groups import join_groups
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Task, as_columns, multi_hot

NUMBERS = 2_000_000  # that the CSV holds at most, about 20 MB; beyond, it has no probabilities
FILE = "file"  # a row's recording as its table has it, by which the two can be joined; its path is from the root
KEYS = ["path", "start", "end", "part"]  # which row it is, and what its probe had not learnt from


@dataclass(frozen=True)
class Predictions:
    """rows has `KEYS` and group, a number that rows share which belong together; the others are [rows, classes].

    Of a labelled table rows has FILE, too; predictions that were read have not.
    """

    rows: DataFrame
    classes: list[str]
    targets: Tensor  # 0 or 1
    logits: Tensor
    kind: TaskKind

    @property
    def parts(self) -> list[Tensor]:
        """The row numbers of every part, in the order in which they were judged."""
        names = self.rows["part"].to_numpy()
        return [torch.from_numpy((names == name).nonzero()[0]) for name in self.rows["part"].unique()]

    @property
    def probabilities(self) -> Tensor:
        return as_probabilities(self.logits.double(), self.kind)


def predictions_of(judgement: Judgement, task: Task) -> Predictions:
    """Collect the rows that a task's probes were judged on, part by part, with their logits."""
    judged = torch.cat([part.test for part in task.parts])
    rows = task.rows.iloc[judged.numpy()]
    names = [part.name for part in task.parts for _ in part.test]
    kept = rows.reindex(columns=KEYS).assign(part=names, group=join_groups(rows)).reset_index(drop=True)
    if FILE in rows:
        kept.insert(0, FILE, rows[FILE].fillna("").astype(str).to_numpy())
    targets = as_columns(task.targets[judged], len(task.classes)).to(torch.uint8)
    return Predictions(
        kept.astype({"start": float, "end": float}),
        task.classes,
        targets,
        torch.cat(judgement.logits),
        task.kind,
    )


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write a Parquet with file, path, start, end, part, group, labels, and logits of every class in a column "logit CLASS".

    Beside it the CSV of `as_csv`, under the same name.
    """
    classes = predictions.classes
    labels = [[classes[place] for place in row.nonzero().flatten().tolist()] for row in predictions.targets]
    columns = {LOGIT + name: column.numpy() for name, column in zip(classes, predictions.logits.T.contiguous())}
    table = pa.Table.from_pandas(predictions.rows, preserve_index=False)
    for name, column in {"labels": pa.array(labels, pa.list_(pa.string())), **columns}.items():
        table = table.append_column(name, pa.array(column))
    file = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({KIND: b"one" if predictions.kind is TaskKind.SINGLE else b"any"}), file
    )
    write_whole(Path(path), file.getvalue())
    write_whole(Path(path).with_suffix(".csv"), as_csv(predictions))


def as_csv(predictions: Predictions) -> bytes:
    """Return file, path, start, end, part, labels, predicted, right, and a column "probability CLASS" for every class.

    Several labels stand with ";" between them; names are written by `as_cell`. predicted: the likeliest class where a
    row has one label, else every one of at least 0.5. right: whether they are the labels. Of big tables the probabilities
    are left out.
    """
    classes, probabilities = predictions.classes, predictions.probabilities
    likeliest, likely = one_hot(probabilities.argmax(1), len(classes)), probabilities >= 0.5
    chosen = likeliest if predictions.kind is TaskKind.SINGLE else likely
    texts = predictions.rows.columns.intersection([FILE, "path", "part"], sort=False)
    rows = predictions.rows[[*predictions.rows.columns.intersection([FILE]), *KEYS]].assign(
        **{name: predictions.rows[name].map(as_cell) for name in texts},
        labels=[_joined(row, classes) for row in predictions.targets],
        predicted=[_joined(row, classes) for row in chosen],
        right=(chosen == predictions.targets).all(1).numpy(),
    )
    if probabilities.numel() <= NUMBERS:
        numbers = DataFrame(
            probabilities.numpy().round(6), columns=[as_cell(f"probability {name}") for name in classes]
        )
        rows = pd.concat([rows, numbers], axis=1)
    return rows.to_csv(index=False, lineterminator="\n").encode()


def _joined(row: Tensor, classes: list[str]) -> str:
    return ";".join(as_cell(classes[place]) for place in row.nonzero().flatten().tolist())


def read_predictions(path: str | Path) -> Predictions:
    """Read what `write_predictions` wrote."""
    check_predictions(Path(path))
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise OscineError(f"{path} cannot be read ({str(error).splitlines()[0]}); run oscine probe again") from None
    classes = [name.removeprefix(LOGIT) for name in table.column_names if name.startswith(LOGIT)]
    kind = (table.schema.metadata or {}).get(KIND)
    if not classes or not kind or not {*KEYS, "group", "labels"} <= set(table.column_names):
        raise OscineError(f"{path} holds no predictions of oscine probe; it has {', '.join(table.column_names)[:200]}")
    rows = table.select([*KEYS, "group"]).to_pandas()
    logits = torch.stack([torch.from_numpy(table[LOGIT + name].to_numpy().copy()) for name in classes], 1)
    targets = multi_hot(table["labels"].to_pylist(), classes).to(torch.uint8)
    return Predictions(rows, classes, targets, logits, TaskKind.SINGLE if kind == b"one" else TaskKind.MULTI)


def align_rows(first: Predictions, second: Predictions) -> Predictions:
    """Put the second in the order of the first; raise unless both were judged on the same rows, parts and labels."""
    if first.classes != second.classes:
        raise OscineError(
            f"the two know {len(first.classes)} and {len(second.classes)} classes, not the same; compare runs of one task"
        )
    mine, its = (pd.MultiIndex.from_frame(one.rows[KEYS].fillna(-1.0)) for one in (first, second))
    order = its.get_indexer(mine) if its.is_unique else None
    if order is None or len(mine) != len(its) or (order < 0).any():
        shared = mine.isin(its).sum()
        raise OscineError(
            f"the two were judged on {len(mine)} and {len(its)} rows, of which they share {shared}; compare runs of one "
            "task, with the same folds"
        )
    rows = second.rows.iloc[order].reset_index(drop=True)
    found = replace(second, rows=rows, targets=second.targets[order], logits=second.logits[order])
    if not torch.equal(found.targets, first.targets):
        raise OscineError("the two were judged by other labels of the same rows; compare runs of one task")
    return found
