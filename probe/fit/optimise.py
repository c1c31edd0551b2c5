"""Take the steps of a fit: the order of rows, AdamW, warm-up and half a cosine, the best step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from oscine.models.timm_parts import CosineLRScheduler
from oscine.probe.fit.settings import FitSettings
from oscine.probe.tasks.kinds import TaskKind

# Floating point operations of products, below which threads cost more than they save: about a millisecond of one core.
# Work element by element is not counted. In 35 steps below this limit, on two cores with other work on both, one thread took
# 0.64 to 0.91 of the time of two (paired medians), and 0.86 where that work is nearly all: one prototype for each of two
# classes, 61 ms. Convex gated probes of 20 prototypes and more are beyond the limit. On idle cores: not measured.
# Judging 5,000 clips between such steps takes 0.05 to 0.25 s with one thread and with two.
SMALL_STEP = 50e6


def training_batches(rows: Tensor, targets: Tensor, settings: FitSettings) -> Iterator[Tensor]:
    """Yield row numbers batch by batch, without end, as the settings draw them.

    rows: the numbers of those to learn from; targets as in `Task`, or of frames [rows, time, classes].
    """
    weights = balancing_weights(targets[rows]) if settings.balanced else None
    return (rows[places] for places in endless_batches(len(rows), settings.batch_size, settings.seed, weights))


def endless_batches(rows: int, batch_size: int, seed: int, weights: Tensor | None = None) -> Iterator[Tensor]:
    """Yield row numbers batch by batch, shuffled anew every epoch; an epoch's batches are of nearly one size.

    None is much smaller than the others: batch norm takes its statistics from it. weights [rows]: an epoch draws as many
    rows by them, with replacement.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        if weights is None:
            order = torch.randperm(rows, generator=generator)
        else:
            order = torch.multinomial(weights, rows, replacement=True, generator=generator)
        yield from order.tensor_split(math.ceil(rows / batch_size))


def balancing_weights(targets: Tensor) -> Tensor:  # [rows]
    """Weigh rows so that all classes come about equally often: 1 / rows of its class.

    targets as in `Task`, or of recordings [rows, time, classes]. Of several classes the mean counts, as for AudioSet-2M in
    BAT's code (arXiv 2602.16305); rows without any are a class of their own.
    """
    kind = TaskKind.of(targets)
    if kind is TaskKind.SINGLE:
        return 1 / targets.bincount()[targets].double()
    labels = (targets.amax(1) if kind is TaskKind.FRAMES else targets).double()
    labels = torch.cat([labels, (labels.sum(1, keepdim=True) == 0).double()], dim=1)
    return (labels / labels.sum(0).clamp(min=1)).sum(1) / labels.sum(1)


class TrainingLoop:
    """The steps of a fit of a module, and the weights of the best step so far, of equal ones the first.

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
        self.step, self.last = 0, last or settings.steps
        self.best_step, self.best_value, self.best_weights = 0, -math.inf, dict[str, Tensor]()
        module.train()

    def take_step(self, loss: Tensor, check: Callable[[Tensor, Tensor], None] | None = None) -> None:
        """Take one step down a loss. check: takes the loss and its gradient's norm before the weights change."""
        self.optimizer.zero_grad()
        loss.backward()
        if (clip := self.settings.clip) is not None or check:
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), math.inf if clip is None else clip)
            if check:
                check(loss, norm)
        self.optimizer.step()
        self.step += 1
        self.schedule.step_update(self.step)
        if self.judge and (self.step % (self.settings.select_every or 1) == 0 or self.step == self.last):
            self.module.eval()
            value = self.judge()
            value = -math.inf if math.isnan(value) else value  # not defined: better than no step, worse than any other
            if value > self.best_value or not self.best_step:
                weights = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
                self.best_step, self.best_value, self.best_weights = self.step, value, weights
            self.module.train()

    def end(self) -> int:
        """Leave the module in eval mode, with the best step's weights where there is one; return the step of its weights."""
        self.module.eval()
        if self.best_step:
            self.module.load_state_dict(self.best_weights)
        return self.best_step or self.step

    def state(self) -> dict[str, Any]:
        """Return what `resume` goes on with."""
        return {
            "step": self.step, "learner": self.module.state_dict(), "optimizer": self.optimizer.state_dict(),
            "best": (self.best_step, self.best_value, self.best_weights),
        }  # fmt: skip

    def resume(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, (self.best_step, self.best_value, self.best_weights) = state["step"], state["best"]
        self.schedule.step_update(self.step)


class StepThreads:
    """One thread for small steps on the CPU, since threads that wait for each other cost them more than they save.

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
