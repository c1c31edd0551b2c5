"""What an encoder is asked: a labelled table, a folder of your own recordings, or a published task as it lies on a disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from oscine.cli.command import Misuse, Parser
from oscine.probe.annotated import annotated_task
from oscine.probe.audioset import audioset
from oscine.probe.birdset import SETS, birdset
from oscine.probe.data import Task, read_task, with_validation
from oscine.probe.dcase import FrameTask, dcase2016
from oscine.probe.splits import FOLDS
from oscine.probe.tasks import BEANS, beans, esc50, folder_per_class, speech_commands

FOLDER, ANNOTATED = "folder", "annotated"
FEW_SHOT: dict[str, Callable[[Path], Task]] = {
    name.lower(): partial(birdset, name=name, few_shot=True) for name in SETS
}
PUBLISHED: dict[str, Callable[[Path], Task]] = {
    "esc50": esc50,
    "esc10": partial(esc50, ten=True),
    "speech_commands": speech_commands,
    "audioset_20k": audioset,
    "audioset_2m": partial(audioset, unbalanced=True),
    **{name.lower(): partial(birdset, name=name) for name in SETS},
    **{name: partial(beans, name=name) for name in BEANS},
}
FRAMES: dict[str, Callable[[Path], FrameTask]] = {"dcase2016": dcase2016}  # of which moments are asked, not clips


@dataclass(frozen=True)
class TaskSettings:
    """What is asked of the encoder.

    Args:
        name: of what lies in --data, a published task such as esc50 or hsn; or folder, a class for each folder in it; or
            annotated, Raven or Audacity tables beside the recordings.
        valid: share of the clips to learn from that is held out to choose thresholds and scalings by, where the task has
            no such clips, such as 0.2; null is none.
        shots: learn from so many clips a class, for each of these numbers; null is all clips.
        draws: how often the clips are drawn for each number of shots.
    """

    name: str | None = None
    valid: float | None = None
    shots: list[int] | None = None
    draws: int = 3


def add_arguments(made: Parser) -> None:
    """The arguments that `open_task` reads."""
    made.add_argument("--table", type=Path, default=None, help="your labelled table")
    made.add_argument("--data", type=Path, default=None, help="instead of a table: the folder in which task.name lies")
    made.add_class_arguments(TaskSettings, "task")
    count = PositiveInt | None  # pyright: ignore[reportOperatorIssue]
    made.add_argument(
        "--folds",
        type=count,
        default=None,
        help="how many are made, 5 where it is left out: of a table without a column fold or split, and of task.name folder "
        "and annotated",
    )
    made.add_argument(
        "--group",
        type=str,
        default=None,
        help="column of the table, such as site, whose clips of one value are all in one fold; where it is left out, "
        "recording, recordist and site are such columns, or one of a like name",
    )
    made.add_argument(
        "--column", type=str, default=None, help="of Raven's tables that holds the labels, if not Species"
    )
    made.add_argument(
        "--unsure", type=str, default="", help='labels that mean "who knows", separated by ";", such as "?"'
    )


def open_task(settings: Namespace, seconds: float) -> Task:
    """The task that a command's arguments name. seconds: of a clip, into which annotated recordings are cut."""
    table, data, asked = settings.table, settings.data, TaskSettings(**settings.task.as_dict())
    if (table is None) == (data is None):
        raise Misuse(
            "give --table FILE.csv, your labelled table, or --data FOLDER, where the task of --task.name lies; one of them"
        )
    if table:
        task = read_task(table, settings.folds, settings.group)
    elif asked.name == FOLDER:
        task = folder_per_class(data, settings.folds or FOLDS)
    elif asked.name == ANNOTATED:
        unsure = [label.strip() for label in settings.unsure.split(";") if label.strip()]
        task = annotated_task(data, seconds, settings.column, unsure, settings.folds or FOLDS)
    else:
        task = published(asked)(data)
    return task if asked.valid is None else with_validation(task, asked.valid)


def open_frames(settings: Namespace) -> FrameTask | None:
    """The task that a command's arguments name, if it asks for events in recordings; else None, see `open_task`."""
    if settings.table or not settings.data or settings.task.name not in FRAMES:
        return None
    if settings.task.valid is not None or settings.task.shots:
        raise Misuse(
            f"--task.valid and --task.shots deal out clips; {settings.task.name} asks for events: leave them out"
        )
    return FRAMES[settings.task.name](settings.data)


def task_name(settings: Namespace) -> str:
    """What the task is called in a results file, beside published figures."""
    if settings.table:
        return settings.table.stem
    return settings.data.resolve().name if settings.task.name in (FOLDER, ANNOTATED) else settings.task.name


def digest(task: Task) -> str:
    """A hash of a task's rows, wherever they lie, and of which are learnt from, judged and chosen by."""
    columns = ["path", "start", "end", *task.rows.columns.intersection(["channel"])]
    rows = task.rows.reindex(columns=columns).assign(path=task.rows["path"].map(os.path.basename))
    parts = [(part.name, part.train.tolist(), part.test.tolist(), part.valid.tolist()) for part in task.parts]
    content = json.dumps([rows.to_csv(index=False), task.classes, task.targets.tolist(), parts])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def published(asked: TaskSettings) -> Callable[[Path], Task]:
    """The reader of a published task; few shots are drawn from what was published of them."""
    readers = PUBLISHED | FEW_SHOT if asked.shots else PUBLISHED
    if asked.name not in readers:
        known = ", ".join([*readers, *FRAMES])
        own = f"{FOLDER} (a class for each folder in --data), {ANNOTATED} (Raven or Audacity tables beside recordings)"
        what = "--data needs --task.name" if asked.name is None else f"no task {asked.name!r}"
        raise Misuse(f"{what}; it is {own}, or a published task: {known}")
    return readers[asked.name]
