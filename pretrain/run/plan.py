"""Tell what a run is about to do: on which device, with which recordings, from which step to which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lightning import Callback, LightningModule, Trainer

from oscine.models.encoders.base.devices import device_name
from oscine.pretrain.data.datamodule import data_of
from oscine.pretrain.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    recordings, stretches, seconds: what clips are cut from, and how long all of that is. clip_seconds: of a clip. clips: of
    a step, over all devices and accumulated parts. done: steps before; steps: of the whole run. warning: what the recipe
    says of so many clips at once, or "".
    """

    device: str
    devices: int
    precision: str
    recordings: int
    stretches: int
    seconds: float
    clip_seconds: float
    clips: int
    done: int
    steps: int
    warning: str


class TellPlan(Callback):
    """Hands the plan of a run to `tell` before its first step, or at its end where no step was left."""

    def __init__(self, tell: Callable[[Plan], None]) -> None:
        self.tell, self.told = tell, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Recipe), "a plan is of a recipe"
        self.tell(plan_of(trainer, pl_module))
        self.told = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.told:  # Lightning leaves out the start of what has ended
            self.on_train_start(trainer, pl_module)


def plan_of(trainer: Trainer, recipe: Recipe) -> Plan:
    """Read the plan of a run off its Trainer, whose recordings have been listed."""
    data = data_of(trainer)
    stretches = data.dataset.stretches
    return Plan(
        device=device_name(str(trainer.strategy.root_device)),
        devices=trainer.world_size,
        precision=str(trainer.precision),
        recordings=len(np.unique(stretches["recording"])),
        stretches=len(stretches),
        seconds=float(stretches["seconds"].sum()),
        clip_seconds=data.dataset.samples / data.dataset.sample_rate,
        clips=data.clips_a_step,
        done=trainer.global_step,
        steps=recipe.steps,
        warning=recipe.warning_for(data.batch_size * trainer.world_size),
    )
