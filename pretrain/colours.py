"""Vectors as colours: what a teacher makes of a clip, and what is predicted of it, to be looked at."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RANGE = (0.02, 0.98)  # quantiles of a clip's targets that are the least and the most of a colour


class Colours(NamedTuple):
    """targets and predictions [clips, patches, 3]; share of the targets' variance that they show."""

    targets: Tensor
    predictions: Tensor
    share: float


def colours(targets: Tensor, predictions: Tensor) -> Colours:
    """A clip's targets along their first three principal components, and its predictions along the same.

    Both [clips, patches, dim], and on the scale of the clip's targets; NaN stays NaN.
    """
    mean = targets.mean(1, keepdim=True)
    # Of a run that has diverged nothing is drawn; it is for others to stop it.
    values, axes = torch.linalg.svd((targets - mean).nan_to_num(), full_matrices=False)[1:]
    axes = axes[:, :3] * axes[:, :3].sum(2, keepdim=True).sign()  # either way is an axis: this one in every picture
    aimed, made = (targets - mean) @ axes.mT, (predictions - mean) @ axes.mT
    low, high = aimed.quantile(targets.new_tensor(RANGE), dim=1, keepdim=True)
    aimed, made = ((along - low) / (high - low) for along in (aimed, made))
    share = (values[:, :3].square().sum(1) / values.square().sum(1)).mean().item()
    return Colours(aimed.clamp(0, 1), made.clamp(0, 1), share)
