"""Which clips the next step learns from: all in turn, or drawn so that rare classes come as often as frequent ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from oscine.probe.tasks.kinds import TaskKind


def endless_batches(rows: int, batch_size: int, seed: int, weights: Tensor | None = None) -> Iterator[Tensor]:
    """Row numbers batch by batch, shuffled anew every epoch; an epoch's batches are of nearly one size.

    None is much smaller than the others: batch norm takes its statistics from it. weights [rows]: an epoch draws as many
    rows by them, with replacement.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = math.ceil(rows / batch_size)
    while True:
        if weights is None:
            order = torch.randperm(rows, generator=generator)
        else:
            order = torch.multinomial(weights, rows, replacement=True, generator=generator)
        yield from order.tensor_split(batches)


def balancing_weights(targets: Tensor) -> Tensor:  # [rows]
    """How often to draw each row for all classes to come about equally often: 1 / rows of its class.

    targets as in `Task`, or of recordings [rows, time, classes]. Of several classes the mean counts, as for AudioSet-2M in
    BAT's code (arXiv 2602.16305); rows without any are a class of their own.
    """
    kind = TaskKind.of(targets)
    if kind is TaskKind.SINGLE:
        return 1 / targets.bincount()[targets].double()
    labels = (targets.amax(1) if kind is TaskKind.FRAMES else targets).double()
    labels = torch.cat([labels, (labels.sum(1, keepdim=True) == 0).double()], dim=1)
    return (labels / labels.sum(0).clamp(min=1)).sum(1) / labels.sum(1)
