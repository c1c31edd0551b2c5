"""What every layer knows by itself: a logistic regression on its CLS and one on its mean patch, layer by layer."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from oscine.models.encoders.base.features import Selection
from oscine.models.errors import OscineError
from oscine.probe.fit.baselines import judge_vectors
from oscine.probe.fit.judge import FeatureSource, Judgement
from oscine.probe.fit.online import judge_by, logistic
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Task

ALL_LAYERS = Needs(layers=None, parts=(Selection.CLS, Selection.MEAN))


def layer_scores(features: FeatureSource, task: Task) -> dict[str, np.ndarray]:
    """The score of every part and layer, [part, layer], by what is read: "CLS" and "mean patch".

    Accuracy if every row has one label, else cmap; see `Metrics`. features: as `ALL_LAYERS` needs them, or more; two vectors
    a layer and row are held in memory.
    """
    taken = features.take(torch.arange(len(task.rows)))
    if not taken.cls.shape[-1] or not taken.patches.shape[2]:
        raise OscineError(
            "features without CLS or without patches; encode with the needs ALL_LAYERS of oscine.probe.fit.layer_scores"
        )
    held = ALL_LAYERS.take(taken)
    read = {"CLS": held.cls, "mean patch": held.patches[:, :, 0, 0]}
    return {name: np.array([_by_part(layer.float(), task) for layer in layers]).T for name, layers in read.items()}


def _by_part(vectors: Tensor, task: Task) -> list[float]:
    judge = judge_vectors if task.kind is TaskKind.SINGLE else partial(judge_by, logistic)
    judgement: Judgement = judge(vectors, task)
    return [getattr(metrics, task.kind.metric) for metrics in judgement.metrics]
