"""Fit a probe's last map together with what annotators make of it, to their votes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.label.votes.crowd_maps import CROWD_MAPS, GeoRegF, VoteList
from oscine.probe.label.votes.out_of_fold import PENALTY

STEPS, RATE = 150, 1e-2  # of all votes at once; untuned


class CrowdFit(NamedTuple):
    """What was fitted: probabilities of clips, and errors of annotators.

    posterior [clips, classes]; confusion [annotators, true, said].
    """

    posterior: np.ndarray
    confusion: np.ndarray


def fit_crowd(
    features: np.ndarray,
    votes: np.ndarray,
    classes: int,
    *,
    method: str,
    steps: int = STEPS,
    rate: float = RATE,
    seed: int = 0,
    progress: ShowProgress = show_nothing,
) -> CrowdFit:
    """Fit a linear probe and a map of `CROWD_MAPS` to votes.

    From nothing on, with Adam. features [clips, dim], standardised; votes: class numbers [clips, annotators], -1 where
    nobody was asked. The global random state is left as it is.
    """
    if method not in CROWD_MAPS:
        raise OscineError(f"no crowd method {method!r}; choose from {', '.join(CROWD_MAPS)}")
    if CROWD_MAPS[method] is GeoRegF and len(features) <= classes:
        raise OscineError(
            f"geo_reg_f needs more clips than classes, there are {len(features)} and {classes}; take geo_reg_w"
        )
    inputs, listed = torch.as_tensor(features, dtype=torch.float32), VoteList.of(torch.as_tensor(votes))
    if not len(listed.clip):
        raise OscineError("nobody has said anything of any clip; give votes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = nn.Linear(inputs.shape[1], classes)
        nn.init.zeros_(probe.weight)
        nn.init.zeros_(probe.bias)
        crowd = CROWD_MAPS[method](votes.shape[1], classes, inputs.shape[1])
        # The mean over votes has the penalty that the other probes have; RAdam's first steps are too small for so few.
        groups: list[dict[str, Any]] = [
            {"params": [probe.weight], "weight_decay": PENALTY / len(listed.clip)},
            {"params": [probe.bias, *crowd.parameters()]},
        ]
        optimiser = torch.optim.Adam(groups, lr=rate)
        _take_steps(lambda: crowd(probe(inputs), listed, inputs), optimiser, steps, progress=progress)
    with torch.no_grad():
        return CrowdFit(probe(inputs).softmax(1).double().numpy(), crowd.confusion().double().numpy())


def _take_steps(
    loss: Callable[[], Tensor], optimiser: torch.optim.Optimizer, steps: int, *, progress: ShowProgress
) -> None:
    """Take steps down the loss, whose length falls by half a cosine."""
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()
        progress(step + 1, steps)
