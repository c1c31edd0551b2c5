"""The steps in which a probe learns, alone or with its encoder: AdamW, a warm-up, half a cosine, and which is best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oscine.models.compat import CosineLRScheduler
from oscine.models.errors import OscineError
from oscine.probe.best_step import BestStep

Watch = Callable[[Tensor, Tensor], None]  # of a step's loss and its gradient's norm, before the weights change


@dataclass(frozen=True)
class FitSettings:
    """How a probe is fitted, with AdamW, a linear warm-up and half a cosine.

    Args:
        steps: optimiser steps in all.
        warmup: optimiser steps of the linear rise to the peak.
        batch_size: clips a step.
        lr: peak learning rate of the parameters that have none of their own; it ends at 1e-6.
        weight_decay: of the matrices that have none of their own.
        beta2: of AdamW, how slowly its second moment moves; the first one's is 0.9.
        clip: largest norm of the gradient; null is any.
        loss: cross_entropy, binary_cross_entropy, asymmetric_bat or asymmetric_bird_mae; null is cross_entropy where
            every row has one label, else binary_cross_entropy.
        balanced: draw clips so that rare classes come as often as frequent ones, instead of all clips in turn.
        select_every: after every so many steps the clips to choose by are judged, and the best step is kept (by accuracy
            where every row has one label, else cmap, by the moment micro_map); null keeps the last.
        seed: of the initial weights and the order of the clips.
    """

    steps: int = 4000
    warmup: int = 400
    batch_size: int = 48
    lr: float = 1e-3
    weight_decay: float = 0.05
    beta2: float = 0.999
    clip: float | None = None
    loss: str | None = None
    balanced: bool = False
    select_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.steps:
            raise OscineError(
                f"fit.warmup is {self.warmup}, expected less than fit.steps, which is {self.steps}; a tenth is usual, "
                f"here fit.warmup {self.steps // 10}"
            )
        if self.batch_size < 1:
            raise OscineError(f"a batch of {self.batch_size} clips; a step needs at least 1")
        if self.select_every is not None and self.select_every < 1:
            raise OscineError(f"fit.select_every is {self.select_every}, expected at least 1 step; null keeps the last")


class Learning:
    """A module on its way through the steps of a fit.

    groups: its parameters, as AdamW takes them; judge: the value of its weights as they are, in eval mode, if the best step
    is to be chosen; last: stop after so many steps, if not all.
    """

    def __init__(
        self,
        module: nn.Module,
        groups: Iterable[dict[str, Any]],
        settings: FitSettings,
        judge: Callable[[], float] | None = None,
        last: int | None = None,
    ) -> None:
        self.module, self.settings = module, settings
        self.judge = judge if settings.select_every else None
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, settings.beta2))
        self.schedule = CosineLRScheduler(
            self.optimizer, settings.steps - settings.warmup, lr_min=1e-6, warmup_t=settings.warmup, warmup_lr_init=1e-6,
            warmup_prefix=True, t_in_epochs=False,
        )  # fmt: skip
        self.step, self.last, self.best = 0, last or settings.steps, BestStep()
        module.train()

    def take(self, loss: Tensor, watch: Watch | None = None) -> None:
        """One step down a loss."""
        self.optimizer.zero_grad()
        loss.backward()
        if (clip := self.settings.clip) is not None or watch:
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), math.inf if clip is None else clip)
            if watch:
                watch(loss, norm)
        self.optimizer.step()
        self.step += 1
        self.schedule.step_update(self.step)
        if self.judge and (self.step % (self.settings.select_every or 1) == 0 or self.step == self.last):
            self.module.eval()
            value = self.judge()
            self.best.offer(self.module.train(), self.step, value)

    def end(self) -> int:
        """Leave the module in eval mode, with the best step's weights where there is one; which step's they are."""
        self.module.eval()
        return self.best.restore(self.module) if self.best.step else self.step

    def state(self) -> dict[str, Any]:
        """With which `resume` goes on."""
        return {
            "step": self.step, "learner": self.module.state_dict(), "optimizer": self.optimizer.state_dict(),
            "best": (self.best.step, self.best.value, self.best.weights),
        }  # fmt: skip

    def resume(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, (self.best.step, self.best.value, self.best.weights) = state["step"], state["best"]
        self.schedule.step_update(self.step)
