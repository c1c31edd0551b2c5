"""AudioSet as a task: BAT's two sets to learn from, its evaluation clips to be judged on (arXiv 2602.16305)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from oscine.models.recordings.audioset import EVAL, TRAIN, audioset_classes, read_audioset
from oscine.probe.tasks.task import Task, multi_hot, split_rows


def audioset(folder: str | Path, unbalanced: bool = False) -> Task:
    """AudioSet-20k, the balanced training clips, or AudioSet-2M with the unbalanced ones; map and f1 are published.

    Classes are the names of the evaluation clips' labels, sorted. What a copy lacks is neither learnt from nor judged.
    """
    folder = Path(folder)
    splits = dict.fromkeys(TRAIN if unbalanced else TRAIN[:1], "train") | {EVAL: "test"}
    rows = pd.concat(
        [read_audioset(folder, name).assign(split=split) for name, split in splits.items()], ignore_index=True
    )
    classes = audioset_classes(folder)
    return Task(rows, classes, multi_hot(rows["labels"], classes), split_rows(rows, folder))
