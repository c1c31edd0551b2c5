"""The steps in which a probe learns, alone or with its encoder: AdamW, a warm-up, half a cosine, and which is best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from oscine.models.compat import CosineLRScheduler
from oscine.probe.fit.best_step import BestStep
from oscine.probe.fit.settings import FitSettings

# Floating point operations of products, below which threads cost more than they save: about a millisecond of one core.
# Work element by element is not counted. In 35 steps below this limit, on two cores with other work on both, one thread took
# 0.64 to 0.91 of the time of two (paired medians), and 0.86 where that work is nearly all: one prototype for each of two
# classes, 61 ms. Convex gated probes of 20 prototypes and more are beyond the limit. On idle cores: not measured.
# Judging 5,000 clips between such steps takes 0.05 to 0.25 s with one thread and with two.
SMALL_STEP = 50e6
Watch = Callable[[Tensor, Tensor], None]  # of a step's loss and its gradient's norm, before the weights change


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
            self.optimizer, settings.steps - settings.warmup_steps, lr_min=1e-6, warmup_t=settings.warmup_steps,
            warmup_lr_init=1e-6, warmup_prefix=True, t_in_epochs=False,
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


class StepThreads:
    """Give small steps on the CPU one thread, since threads that wait for each other cost them more than they save.

    The first step takes all threads and is counted, what is computed for its batch and its gradient included; the block ends
    with the number of threads that it began with.
    """

    def __init__(self, device: torch.device) -> None:
        self.all = torch.get_num_threads()
        self.counted = device.type != "cpu"

    def __enter__(self) -> StepThreads:
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.all)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Compute one step in a block."""
        if self.counted:
            yield
            return
        with FlopCounterMode(display=False) as counter:
            yield
        self.counted = True
        if counter.get_total_flops() < SMALL_STEP:
            torch.set_num_threads(1)
