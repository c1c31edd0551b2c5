"""Judge an encoder while it is pretrained: a curve beside the loss, which does not tell what is learnt."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from einops import rearrange
from lightning import LightningModule, Trainer
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Selection
from oscine.models.errors import OscineError
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.baselines import judge_by, judge_vectors, neighbours
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import Task

logger = logging.getLogger(__name__)
MEAN_PATCH = Needs(layers=[-1], parts=(Selection.MEAN,))


class OnlineProbe:
    """A judge of a run's encoder, frozen, on a task; whenever called, it logs the means over the task's parts.

    probe/accuracy_knn     by the votes of the nearest rows
    probe/accuracy_linear  by logistic regression
    or `probe/cmap_knn` and `probe/cmap_linear`, where rows have none or several labels. Both read the mean patch of the
    last layer, standardised.

    It takes any LightningModule with an `encoder`. The processes of a run share the rows. Neither weights nor random
    numbers change. If the first call fails, that is an error; if a later one does, the log says so and the run goes on.
    """

    def __init__(self, task: Task, batch_size: int = 16, workers: int = 0) -> None:
        self.task, self.batch_size, self.workers = task, batch_size, workers
        self.has_scored = False

    def log_scores(self, trainer: Trainer, module: LightningModule) -> None:
        """Judge the encoder as the step that is done has left it, and log in the row of that step's losses."""
        found = self.evaluate(trainer, cast(Encoder, module.encoder))
        if isinstance(found, dict):
            self.has_scored = True
            for log in trainer.loggers:  # in the row of the step's losses, which are counted from zero
                log.log_metrics(found, trainer.global_step - 1)
        elif self.has_scored:
            logger.warning("step %d is not judged: %s", trainer.global_step, found)
        else:
            raise OscineError(found)

    def evaluate(self, trainer: Trainer, encoder: Encoder) -> dict[str, float] | str:
        """Return the scores, or what went wrong: the same in every process, so that none is left waiting for another."""
        with trainer.precision_plugin.forward_context():
            own = self.encode(encoder, trainer.global_rank, trainer.world_size)
        shares = [own] * trainer.world_size  # of every process, in the order of their ranks
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(shares, own)
        return trainer.strategy.broadcast(self.judge(shares) if trainer.is_global_zero else "")

    def encode(self, encoder: Encoder, rank: int, ranks: int) -> Tensor | str:  # [share, dim]
        """Encode every `ranks`-th row, or say what went wrong. Each process has as many: shared weights go in step."""
        rows = len(self.task.rows)
        own = np.arange(rank, math.ceil(rows / ranks) * ranks, ranks) % rows
        share = replace(self.task, rows=self.task.rows.iloc[own])
        modes = {module: module.training for module in encoder.modules()}
        try:
            features = encode_task(encoder, share, MEAN_PATCH, batch_size=self.batch_size, workers=self.workers)
        except OscineError as error:
            return str(error)
        finally:  # a part of an encoder that trains may be in eval mode for good
            for module, mode in modes.items():
                module.training = mode
        return features.patches[0, :, 0, 0].float()

    def judge(self, shares: list[Tensor | str]) -> dict[str, float] | str:
        for share in shares:
            if isinstance(share, str):
                return share
        vectors = rearrange(cast("list[Tensor]", shares), "rank row dim -> (row rank) dim")[: len(self.task.rows)]
        try:
            return online_scores(vectors, self.task)
        except OscineError as error:
            return str(error)


def online_scores(vectors: Tensor, task: Task) -> dict[str, float]:
    """Score a row's vector, [rows, dim], by its neighbours and by logistic regression."""
    metric = task.kind.metric
    knn, linear = judge_by(neighbours, vectors, task), judge_vectors(vectors, task)
    return {f"probe/{metric}_knn": knn.summary(metric)[0], f"probe/{metric}_linear": linear.summary(metric)[0]}
