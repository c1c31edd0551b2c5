"""Time and memory of large labelled tables and of scores of thousands of classes, against the plain, dense way.

python benchmarks/labels.py --rows 200000 --classes 5000: reading the table, making folds, drawing balanced batches, with the
targets as numbers of classes, and with a column a class in float32. python benchmarks/labels.py --judged 20000 scores so
many rows, here and class by class with scikit-learn. Each runs in a process of its own, whose peak memory beyond what the
imports take is shown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.probe.fit.optimise import balancing_weights
from oscine.probe.metrics.metrics import single_label_metrics
from oscine.probe.tasks.groups import join_groups
from oscine.probe.tasks.splits import read_labelled

GIB = 2**30


def write_table(folder: Path, rows: int, classes: int) -> Path:
    """A table of so many stretches of 1,000 recordings, of which the first classes are frequent and the last are rare."""
    rng = np.random.default_rng(0)
    recordings = [f"{number}.wav" for number in range(1000)]
    for name in recordings:
        (folder / name).touch()
    labels = np.concatenate([np.arange(classes), rng.zipf(1.3, rows - classes) % classes])
    starts = 5 * (np.arange(rows) // len(recordings))
    table = pd.DataFrame({"path": np.resize(recordings, rows), "start": starts, "end": starts + 5})
    table.assign(label=[f"species {label:05d}" for label in labels]).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def ours(table: Path) -> None:
    labelled = read_labelled(table)
    targets = torch.from_numpy(labelled.targets)
    for split in labelled.splits:
        balancing_weights(targets[torch.from_numpy(split.train)])


def plain(table: Path) -> None:
    """The same with a column a class: read, dealt into folds group by group, balanced."""
    rows = pd.read_csv(table)
    labels = pd.factorize(rows["label"], sort=True)[0]
    targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    groups = join_groups(rows)
    shares = np.zeros((groups.max() + 1, targets.shape[1]))
    np.add.at(shares, groups, targets / targets.sum(0))
    filled, folds = np.zeros((5, targets.shape[1])), np.zeros(len(shares), dtype=int)
    for group in np.argsort(-shares.sum(1), kind="stable"):
        folds[group] = (filled @ shares[group]).argmin()
        filled[folds[group]] += shares[group]
    fold = folds[groups]
    for number in range(5):
        own = targets[fold != number]
        (own / own.sum(0).clip(min=1)).sum(1)


def drawn(rows: int, classes: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(rows, classes, generator=draw), torch.randint(classes, (rows,), generator=draw)


def scored(rows: int, classes: int) -> None:
    single_label_metrics(*drawn(rows, classes))


def scored_plainly(rows: int, classes: int) -> None:
    logits, labels = drawn(rows, classes)
    scores, targets = logits.double().softmax(1).numpy(), one_hot(labels, classes).numpy()
    for column in np.flatnonzero(targets.any(0)):
        average_precision_score(targets[:, column], scores[:, column])
        roc_auc_score(targets[:, column], scores[:, column])
    average_precision_score(targets.ravel(), scores.ravel())


def measured(run: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Seconds and peak memory in bytes, of a process of its own."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_measure, args=(there, run, arguments))
    process.start()
    there.close()
    try:
        found: tuple[float, float] = here.recv()
    except EOFError:
        found = (float("nan"), float("nan"))  # it was killed: there was not enough memory
    process.join()
    return found


def _measure(pipe, run, arguments) -> None:  # type: ignore[no-untyped-def]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    run(*arguments)
    seconds = time.perf_counter() - begin
    pipe.send((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=5_000)
    parser.add_argument("--judged", type=int, default=0, help="score so many rows instead")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.judged:
            both = [(run, (asked.judged, asked.classes)) for run in (scored, scored_plainly)]
        else:
            both = [(run, (write_table(Path(folder), asked.rows, asked.classes),)) for run in (ours, plain)]
        for name, (run, arguments) in zip(("ours", "plain"), both, strict=True):
            seconds, memory = measured(run, *arguments)
            print(f"{name:<6} {seconds:8.1f} s  {memory / GIB:6.2f} GiB")


if __name__ == "__main__":
    main()
