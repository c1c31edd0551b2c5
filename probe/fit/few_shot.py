"""Learn from a few clips a class: draw them, and judge how scores rise with their number."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.probe.fit.judge import Judgement
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Task

logger = logging.getLogger(__name__)


class Shots(NamedTuple):
    """Judgements of so many clips a class, draw by draw."""

    shots: int
    draws: list[Judgement]

    def summary(self, metric: str) -> tuple[float, float]:
        """Return mean and (population) standard deviation of a metric over the draws."""
        values = [judgement.summary(metric)[0] for judgement in self.draws]
        return float(np.mean(values)), float(np.std(values))

    def as_dict(self) -> dict[str, Any]:
        """Describe for JSON: every draw, and mean and spread over them of what all define; None stands for the rest."""
        draws = [judgement.as_dict() for judgement in self.draws]
        summaries = {name: self.summary(name) for name in draws[0]["mean"]}
        defined = {name: None if math.isnan(mean) else (mean, spread) for name, (mean, spread) in summaries.items()}
        return {
            "shots": self.shots,
            "mean": {name: both and both[0] for name, both in defined.items()},
            "std": {name: both and both[1] for name, both in defined.items()},
            "draws": draws,
        }


def few_shot(task: Task, shots: int, draw: int = 1, seed: int = 0) -> Task:
    """Keep the rows that are judged, but learn from so many clips a class, which the number of the draw decides.

    Only clips with one label are drawn, of as many recordings as there are: a second clip of one follows when all others
    have given their first. A class with fewer clips gives all that it has. Bird-MAE's protocol (arXiv 2504.12880) has 1, 5
    and 10 shots, and draws 1 to 3.
    """
    if shots < 1:
        raise OscineError(f"{shots} clips a class; a probe learns from 1 at least")
    rng = np.random.default_rng([seed, draw])
    parts = [part._replace(train=_drawn(task, part.train, shots, rng)) for part in task.parts]
    return replace(task, parts=parts)


def few_shot_curve(
    task: Task, judge: Callable[[Task], Judgement], shots: Sequence[int] = (1, 5, 10), draws: int = 3
) -> list[Shots]:
    """Judge draws of rising numbers of clips a class. judge: fits and scores a draw, by features that all of them share."""
    return [Shots(number, [judge(few_shot(task, number, draw)) for draw in range(1, draws + 1)]) for number in shots]


def _drawn(task: Task, train: Tensor, shots: int, rng: np.random.Generator) -> Tensor:
    single = task.kind is TaskKind.SINGLE
    if not single:
        train = train[task.targets[train].sum(1) == 1]
    labels = task.targets[train] if single else task.targets[train].argmax(1)
    clips = DataFrame({"row": train, "label": labels, "path": task.rows["path"].iloc[train.numpy()].to_numpy()})
    clips = clips.iloc[rng.permutation(len(clips))]
    clips = clips.iloc[np.argsort(clips.duplicated(["path", "label"]), kind="stable")]
    chosen = clips[clips.groupby("label").cumcount() < shots]
    few = len(task.classes) - int((chosen["label"].value_counts() == shots).sum())
    if few:
        logger.warning("%d of %d classes have fewer than %d clips to learn from", few, len(task.classes), shots)
    return torch.from_numpy(np.sort(chosen["row"].to_numpy()))
