"""Fit a probe on each part of a task and score it on the part's other rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.fit.losses import LOSSES, cross_entropy
from oscine.probe.fit.optimise import StepThreads, TrainingLoop, training_batches
from oscine.probe.fit.settings import FitSettings, check_selection
from oscine.probe.heads.probe import Probe
from oscine.probe.metrics.metrics import LARGE, Metrics, multi_label_metrics, single_label_metrics
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import NO_ROWS, Task

IN_MEMORY = 2**28  # bytes of prepared features that are held there while probes are fitted on them


@dataclass(frozen=True)
class Judgement:
    """The probes of a task's parts and their scores, in the order of the parts.

    logits        of the rows that a part is judged on, in the order of `Part.test`, [rows, classes]
    valid_logits  of those that it may choose by, `Part.valid`
    steps         that each probe has learnt from: all, or those up to the best
    """

    parts: list[str]
    metrics: list[Metrics]
    probes: list[Probe] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    valid_logits: list[Tensor] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def summary(self, metric: str) -> tuple[float, float]:
        """Return mean and (population) standard deviation of a metric over the parts that define it; NaN if none does."""
        values = np.array([getattr(metrics, metric) for metrics in self.metrics])
        values = values[~np.isnan(values)]
        return (float(values.mean()), float(values.std())) if len(values) else (math.nan, math.nan)

    def as_dict(self) -> dict[str, Any]:
        """Describe for JSON: every part's metrics; mean and spread of those that are shares. None stands for NaN."""
        shares = [metric.name for metric in fields(Metrics) if metric.type == "float"]
        tables = {name: asdict(metrics) for name, metrics in zip(self.parts, self.metrics, strict=True)}
        return {
            "parts": {name: without_nan(table) for name, table in tables.items()},
            "mean": without_nan({name: self.summary(name)[0] for name in shares}),
            "std": without_nan({name: self.summary(name)[1] for name in shares}),
            "steps": dict(zip(self.parts, self.steps)),
        }


class FeatureSource(Protocol):
    """The features of all rows of a task: in memory (`Features`), on disk, or encoded whenever they are taken."""

    def take(self, rows: Tensor, /) -> Features: ...


class Prepared(NamedTuple):
    """A source whose features a probe prepares whenever they are taken, on a device."""

    probe: Probe
    source: FeatureSource
    device: str | torch.device

    def take(self, rows: Tensor, /) -> Features:
        return self.probe.prepare(self.source.take(rows).to(self.device))


class PreparedRows(NamedTuple):
    """Prepared features of some rows in memory. rows: their numbers, ascending."""

    features: Features
    rows: Tensor

    def take(self, rows: Tensor, /) -> Features:
        places = torch.searchsorted(self.rows, rows).clamp(max=len(self.rows) - 1)
        absent = rows[self.rows[places] != rows]
        if len(absent):
            raise OscineError(f"row {int(absent[0])} was not prepared; give prepare() all rows that will be taken")
        return self.features.take(places)


def prepare(
    probe: Probe,
    features: FeatureSource,
    device: str | torch.device = "cpu",
    *,
    rows: Tensor | None = None,
    progress: ShowProgress = show_nothing,
) -> FeatureSource:
    """Do what a probe does without parameters: once where the outcome fits into memory, else whenever rows are taken.

    rows: all that will be taken. A fit takes each of them hundreds of times, and from a disk that is half of what it costs.
    Progress counts those that are done once, each of which is encoded for it where no store had room.
    """
    if isinstance(features, Features):
        return probe.prepare(features)
    whenever = Prepared(probe, features, device)
    if rows is None or not len(rows):
        return whenever
    once: Tensor = torch.unique(rows)
    if len(once) * sum(tensor.nbytes for tensor in whenever.take(once[:1])) > IN_MEMORY:
        return whenever
    taken, done = list[Features](), 0
    for some in once.split(64):
        taken.append(whenever.take(some).to("cpu"))
        done += len(some)
        progress(done, len(once))
    return PreparedRows(
        Features(*(torch.cat(parts, axis) for axis, *parts in zip((1, 1, 0), *taken, strict=True))), once
    )


def judge(
    make_probe: Callable[[], Probe],
    features: FeatureSource,
    task: Task,
    settings: FitSettings,
    progress: ShowProgress = show_nothing,
    device: str | torch.device = "cpu",
    scoring: ShowProgress = show_nothing,
    preparing: ShowProgress = show_nothing,
) -> Judgement:
    """Fit a fresh probe on every part of the task and score it on the part's own test rows.

    Features stay where they are; the probe, and a batch at a time, are on `device`. Progress counts the steps of all parts;
    scoring is of each part's scores, where those take some seconds; preparing is of clips, see `prepare`. Error where a best
    step is asked for and a part has no rows to choose it by.
    """
    check_selection(settings.select_every, task.parts)
    judgement = Judgement([part.name for part in task.parts], [])
    used = torch.cat([part.all_rows for part in task.parts])
    at_once = settings.batch_size if task.kind is TaskKind.FRAMES else 64  # a recording is as large as many clips
    with torch.random.fork_rng(devices=[]):
        prepared = prepare(make_probe(), features, device, rows=used, progress=preparing)
    for number, part in enumerate(task.parts):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            probe = make_probe().to(device)
            shown = within(progress, number, len(task.parts))
            judgement.steps.append(
                fit_probe(probe, prepared, task.targets, part.train, settings, valid=part.valid, progress=shown)
            )
        judgement.probes.append(probe)
        judgement.logits.append(predict(probe, prepared, part.test, at_once))
        judgement.valid_logits.append(predict(probe, prepared, part.valid, at_once))
        large = judgement.logits[-1].numel() >= LARGE
        judgement.metrics.append(
            score(judgement.logits[-1], task.targets[part.test], scoring if large else show_nothing)
        )
    return judgement


def within(progress: ShowProgress, part: int, parts: int) -> ShowProgress:
    """Turn progress of one of several parts of equal length into progress of all of them."""
    return lambda done, total, *note: progress(part * total + done, parts * total, *note)


def join_judgements(judgements: Sequence[Judgement]) -> Judgement:
    """Join the judgements of a task's parts into one."""
    names = [made.name for made in fields(Judgement)]
    return Judgement(**{name: [item for one in judgements for item in getattr(one, name)] for name in names})


def fit_probe(
    probe: Probe,
    prepared: FeatureSource,
    targets: Tensor,
    rows: Tensor,
    settings: FitSettings,
    *,
    valid: Tensor = NO_ROWS,
    steps: int | None = None,
    progress: ShowProgress = show_nothing,
) -> int:
    """Fit a probe in place on some rows of a task, and return the step whose weights it has.

    prepared: every row's features, as `prepare` gives them; targets as in `Task`; rows: the numbers of those to learn from;
    valid: of those that the best step is chosen by, where the settings ask for it: without such rows it is the last. steps:
    stop after so many of `settings.steps`. Nothing is copied but a batch at a time.
    """
    loss_function = choose_loss(settings.loss, TaskKind.of(targets))
    device = next(probe.parameters()).device

    def value() -> float:
        return main_score(predict(probe, prepared, valid, settings.batch_size), targets[valid])

    groups = probe.parameter_groups(settings.lr, settings.weight_decay)
    loop = TrainingLoop(probe, groups, settings, value if len(valid) else None, steps)
    with StepThreads(device) as threads:
        for batch in islice(training_batches(rows, targets, settings), loop.last):
            wanted = targets[batch] if loss_function is cross_entropy else as_shares(targets[batch], probe.classes)
            with threads.step():
                logits = probe.logits(prepared.take(batch).to(device))
                loop.take_step(loss_function(logits, wanted.to(device)) + probe.penalty())
            progress(loop.step, loop.last)
    return loop.end()


def predict(probe: Probe, prepared: FeatureSource, rows: Tensor, batch_size: int = 64) -> Tensor:  # [rows, classes]
    """Compute a fitted probe's logits, or [rows, time, classes], for some rows of prepared features, on the CPU."""
    if not len(rows):
        return torch.empty(0, probe.classes)
    device = next(probe.parameters()).device
    with torch.inference_mode():
        return torch.cat([probe.logits(prepared.take(batch).to(device)).cpu() for batch in rows.split(batch_size)])


def score(logits: Tensor, targets: Tensor, progress: ShowProgress = show_nothing) -> Metrics:
    """Score logits as the kind of the targets asks for, see `TaskKind`; frames, [rows, time, classes], are rows."""
    if TaskKind.of(targets) is TaskKind.SINGLE:
        return single_label_metrics(logits, targets, progress)
    return multi_label_metrics(logits.flatten(0, -2), targets.flatten(0, -2), progress)


def main_score(logits: Tensor, targets: Tensor) -> float:
    """Score logits by the one metric that steps are chosen by; shapes as for `score`."""
    return getattr(score(logits, targets), TaskKind.of(targets).metric)


def choose_loss(name: str | None, kind: TaskKind) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of that name, or the one of the kind of task.

    `cross_entropy` takes class numbers [rows], all others what `as_shares` makes of targets.
    """
    if name == "cross_entropy" and kind is not TaskKind.SINGLE:
        raise OscineError(
            "cross_entropy takes one label a row, some rows have none or several; use binary_cross_entropy"
        )
    return LOSSES[name or kind.loss]


def as_shares(targets: Tensor, classes: int) -> Tensor:  # [rows, classes], or of frames [rows, time, classes]
    """Turn targets of a batch into numbers that can be mixed; those of a whole table might fill gigabytes."""
    return (one_hot(targets, classes) if TaskKind.of(targets) is TaskKind.SINGLE else targets).float()


def without_nan(table: dict[str, Any]) -> dict[str, Any]:
    """Put None for NaN, which JSON does not have."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in table.items()}
