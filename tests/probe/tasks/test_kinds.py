"""Each kind of task names a loss, a metric and a scaling that there are."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from oscine.probe.fit.losses import LOSSES
from oscine.probe.metrics.decisions import FITS
from oscine.probe.metrics.metrics import Metrics
from oscine.probe.tasks.kinds import TaskKind


@pytest.mark.parametrize("kind", TaskKind)
def test_what_a_kind_names_is_there(kind: TaskKind) -> None:
    assert kind.loss in LOSSES
    assert kind.metric in {metric.name for metric in fields(Metrics)}
    assert kind.scaling is None or kind.scaling in FITS
    assert kind.activation in ("softmax", "sigmoid")


def test_the_shape_of_targets_tells_the_kind() -> None:
    targets = torch.tensor([0, 1]), torch.zeros(2, 3), torch.zeros(2, 4, 3)
    assert [TaskKind.of(one) for one in targets] == [TaskKind.SINGLE, TaskKind.MULTI, TaskKind.FRAMES]
    assert [TaskKind.of(one.numpy()) for one in targets] == [*TaskKind]
