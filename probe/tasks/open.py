"""Open the task that settings name: a labelled table, a folder of recordings, or a published set on the disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from oscine.models.audio.scan import find_recordings
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import did_you_mean
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.settings import ANNOTATED, FOLDER, FRAME_TASKS, PUBLISHED, ClipSettings, TaskSettings

if TYPE_CHECKING:
    from oscine.probe.tasks.frame_task import FrameTask
    from oscine.probe.tasks.splits import LabelledTable
    from oscine.probe.tasks.task import Task


logger = logging.getLogger(__name__)


def check_task(settings: ClipSettings) -> TaskSettings:
    """Refuse what settings and files alone show to be no task, before anything is imported to read it."""
    asked = settings.task
    if settings.background and not settings.own:
        raise Misuse(f"--background goes with recordings of your own; {asked.name} is a published task: leave it out")
    if settings.source == settings.table:
        return asked
    if asked.name in FRAME_TASKS:
        if asked.valid is not None or asked.shots:
            raise Misuse(f"--task.valid and --task.shots deal out clips; {asked.name} asks for events: leave them out")
    elif asked.name not in (FOLDER, ANNOTATED, *PUBLISHED):
        known = ", ".join([*PUBLISHED, *FRAME_TASKS])
        own = f"{FOLDER} (a class for each folder in --data), {ANNOTATED} (Raven or Audacity tables beside recordings)"
        what = "--data needs --task.name" if asked.name is None else f"no task {asked.name!r}"
        raise Misuse(f"{what}; it is {own}, or a published task: {known}")
    return asked


class Clips(NamedTuple):
    """Clips as far as they are read without torch.

    table       the labelled clips of a table, or of one folder a class; None of other tasks
    background  recordings in which no class sounds
    """

    table: LabelledTable | None = None
    background: Sequence[Path] = ()


def read_clips(settings: ClipSettings) -> Clips:
    """Read labelled clips and list background recordings, once; refuse a folder that is not there."""
    background = find_recordings(settings.background) if settings.background else []
    if not settings.table and not settings.source.is_dir():
        raise OscineError(f"no folder {settings.source}; {did_you_mean(settings.source, 'check the path of --data')}")
    if not settings.table and settings.task.name != FOLDER:
        return Clips(None, background)
    from oscine.probe.tasks.splits import FOLDS, read_class_folders, read_labelled  # pandas, which --help does without

    folds, valid, negatives = settings.folds, settings.task.valid, settings.named_negatives
    if settings.table:
        table = read_labelled(settings.table, folds, group=settings.group, valid=valid, negatives=negatives)
        return Clips(table, background)
    return Clips(read_class_folders(settings.source, folds or FOLDS, valid=valid, negatives=negatives), background)


def open_task(settings: ClipSettings, seconds: float, clips: Clips | None = None) -> Task:
    """Open the task that settings name. seconds: of a clip, into which annotated recordings are cut.

    clips: what `read_clips` has read.
    """
    from oscine.probe.tasks.annotated import annotated_task
    from oscine.probe.tasks.splits import FOLDS
    from oscine.probe.tasks.task import as_task, with_validation

    data, asked = settings.source, check_task(settings)
    clips = clips or read_clips(settings)
    if clips.table:
        task = as_task(clips.table)
    elif asked.name == ANNOTATED:
        unsure = [label.strip() for label in settings.unsure.split(";") if label.strip()]
        task = annotated_task(
            data,
            seconds,
            column=settings.column,
            unsure=unsure,
            folds=settings.folds or FOLDS,
            negatives=settings.named_negatives,
            skip_bad_tables=settings.skip_bad_tables,
        )
    else:
        from oscine.probe.tasks.published import FEW_SHOT, READERS

        task = (FEW_SHOT if asked.shots else READERS)[str(asked.name)](data)
    if asked.valid is not None:
        task = with_validation(task, asked.valid)
    logger.info("%s: %s", data, counts(task))
    return task


def counts(task: Task) -> str:
    """Say how many clips are read, how they are used, and how many are left aside."""
    used = {row for part in task.parts for rows in part[1:] for row in rows.tolist()}
    said = f"{len(task.rows)} clips of {len(task.classes)} classes"
    if task.kind is TaskKind.MULTI and (silent := int((task.targets.sum(1) == 0).sum())):
        said += f", {silent} of them of none"
    if len(task.parts) > 1:
        said += f", in {len(task.parts)} folds"
    else:
        part = task.parts[0]
        said += f": {len(part.train)} to learn from, {len(part.valid)} to choose by, {len(part.test)} to be judged"
    left = len(task.rows) - len(used)
    return said + (f"; {left} are in no split that is used, and left aside" if left else "; none is left aside")


def asks_for_frames(settings: ClipSettings) -> bool:
    """Tell whether the task that settings name asks for events in recordings, not for clips."""
    return bool(settings.data and not settings.table and settings.task.name in FRAME_TASKS)


def open_frames(settings: ClipSettings) -> FrameTask | None:
    """Open the task that settings name, if it asks for events in recordings; else None, see `open_task`."""
    if not asks_for_frames(settings):
        return None
    check_task(settings)
    from oscine.probe.tasks.published import FRAME_READERS

    return FRAME_READERS[str(settings.task.name)](settings.source)


def task_name(settings: ClipSettings) -> str:
    """Name the task as a results file does, beside published figures."""
    if settings.table:
        return settings.table.stem
    name = str(settings.task.name)
    return settings.source.resolve().name if name in (FOLDER, ANNOTATED) else name


def hash_rows(task: Task) -> str:
    """Hash a task's rows, wherever they lie, and which are learnt from, judged and chosen by."""
    columns = ["path", "start", "end", *task.rows.columns.intersection(["channel"])]
    rows = task.rows.reindex(columns=columns).assign(path=task.rows["path"].map(os.path.basename))
    parts = [(part.name, part.train.tolist(), part.test.tolist(), part.valid.tolist()) for part in task.parts]
    made = hashlib.sha256(f"[{json.dumps(rows.to_csv(index=False))}, {json.dumps(task.classes)}, ".encode())
    for text in _targets_in_json(task):
        made.update(text)
    made.update(f", {json.dumps(parts)}]".encode())
    return made.hexdigest()[:16]


def _targets_in_json(task: Task) -> Iterator[bytes]:
    """Write a task's targets in JSON, row by row, as there may be 10^9: numbers of classes, or lists of 0.0 and 1.0."""
    if task.kind is TaskKind.SINGLE:
        yield json.dumps(task.targets.tolist()).encode()
        return
    zeros = json.dumps([0.0] * len(task.classes)).encode()
    for number, row in enumerate(task.targets):
        text = bytearray(zeros)
        for place in row.nonzero().flatten().tolist():
            text[1 + len("0.0, ") * place] = ord("1")
        yield (b", " if number else b"[") + text
    yield b"]"
