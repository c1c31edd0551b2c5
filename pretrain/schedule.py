"""Make optimiser, learning-rate schedule, teacher decay and weight-decay groups."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from oscine.models.compat import leave_gradients_scaled

FUSED = {"cpu", "cuda"}  # devices whose AdamW updates a weight in one pass


def adamw(groups: list[dict[str, Any]], lr: float, betas: tuple[float, float] = (0.9, 0.95)) -> AdamW:
    """Make AdamW. groups: parameters (`params`) with the `weight_decay` of each. betas: as BAT and Bird-MAE have them."""
    fused = {weight.device.type for group in groups for weight in group["params"]} <= FUSED
    optimizer = AdamW(groups, lr=lr, betas=betas, fused=fused)
    leave_gradients_scaled(optimizer)
    return optimizer


def warmup_cosine(step: int, warmup: int, steps: int, floor: float = 0.0, end: float = 0.0) -> float:
    """Return the share of the peak learning rate at step 0, 1, ...: a linear rise, then half a cosine to `end`.

    What falls below `floor` (a share of the peak, as `end`) is raised to it, so the first step of all uses the floor.
    """
    if step < warmup:
        return max(floor, step / warmup)
    fallen = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return max(floor, end + (1 - end) * fallen)


def warmup_cosine_schedule(
    optimizer: Optimizer, warmup: int, steps: int, floor: float = 0.0, end: float = 0.0
) -> dict[str, object]:
    """Make `warmup_cosine` a schedule of Lightning's: stepped after every optimiser step."""
    scheduler = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, steps, floor, end))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def share_of(lr: float, peak: float) -> float:
    """Return a learning rate as a share of the peak; none of a peak of 0, at which nothing learns."""
    return lr / peak if peak else 0.0


def teacher_decay(step: int, start: float, end: float, ramp: int) -> float:
    """Return the EMA decay after step 0, 1, ...: linear from `start` to `end` over `ramp` steps, then `end`.

    The ramp is a float32 line, as in the authors' code: near 1 its steps are 6e-8 wide.
    """
    if step >= ramp:
        return end
    return torch.linspace(start, end, ramp, dtype=torch.float32)[step].item()


def no_decay_names(module: nn.Module) -> set[str]:
    """Name the parameters with one axis: biases and norms. To be called early: dealt out to devices, all have one axis."""
    return {name for name, parameter in module.named_parameters() if parameter.ndim <= 1}


def decay_groups(module: nn.Module, no_decay: set[str], weight_decay: float) -> list[dict[str, Any]]:
    """Make AdamW's groups: weight decay for matrices and tokens, none for the parameters named in `no_decay`."""
    trained = {
        name.replace("_fsdp_wrapped_module.", ""): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    return [
        {"params": [trained[name] for name in trained if name not in no_decay], "weight_decay": weight_decay},
        {"params": [trained[name] for name in trained if name in no_decay], "weight_decay": 0.0},
    ]
