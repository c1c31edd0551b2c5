"""Learning rate, teacher decay and weight-decay groups: what changes, or must not, as a run goes on."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(step: int, warmup: int, steps: int, floor: float = 0.0) -> float:
    """Share of the peak learning rate at optimiser step 0, 1, ...: a linear rise, then half a cosine to zero.

    What falls below `floor` (a share of the peak) is raised to it, so the first step of all uses the floor.
    """
    share = step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return max(floor, share)


def warmup_cosine_schedule(optimizer: Optimizer, warmup: int, steps: int, floor: float = 0.0) -> dict[str, object]:
    """`warmup_cosine` for Lightning: stepped after every optimiser step."""
    scheduler = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, steps, floor))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def teacher_decay(step: int, start: float, end: float, ramp: int) -> float:
    """EMA decay after optimiser step 0, 1, ...: linear from `start` to `end` over `ramp` steps, then `end`.

    The ramp is a float32 line, as in the authors' code: near 1 its steps are 6e-8 wide.
    """
    if step >= ramp:
        return end
    return torch.linspace(start, end, ramp, dtype=torch.float32)[step].item()


def matrices_decay(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """AdamW groups: weight decay for matrices and tokens, none for biases and norms (one axis)."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
