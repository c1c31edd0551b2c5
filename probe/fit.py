"""From a frozen encoder and a task to scores: encode once, fit a probe on each part, judge it on the part's other rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from timm.scheduler import CosineLRScheduler
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.vectors import evaluating
from oscine.probe.data import LabelledClips, Task, read_batches
from oscine.probe.losses import LOSSES
from oscine.probe.metrics import Metrics, multi_label_metrics, single_label_metrics
from oscine.probe.probe import Needs, Probe


@dataclass(frozen=True)
class Judgement:
    """What a probe makes of an encoder, part by part in the task's order.

    logits        of the rows that a part is judged on, in the order of `Part.test`, [rows, classes]
    valid_logits  of those that it may choose by, `Part.valid`
    """

    parts: list[str]
    metrics: list[Metrics]
    probes: list[Probe] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    valid_logits: list[Tensor] = field(default_factory=list)

    def summary(self, metric: str) -> tuple[float, float]:
        """Mean and (population) standard deviation of a metric over the parts that define it; NaN if none does."""
        values = np.array([getattr(metrics, metric) for metrics in self.metrics])
        values = values[~np.isnan(values)]
        return (float(values.mean()), float(values.std())) if len(values) else (math.nan, math.nan)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every part's metrics; mean and spread of those that are shares. None stands for NaN."""
        shares = [metric.name for metric in fields(Metrics) if metric.type == "float"]
        tables = {name: asdict(metrics) for name, metrics in zip(self.parts, self.metrics, strict=True)}
        return {
            "parts": {name: without_nan(table) for name, table in tables.items()},
            "mean": without_nan({name: self.summary(name)[0] for name in shares}),
            "std": without_nan({name: self.summary(name)[1] for name in shares}),
        }


Progress = Callable[[int, int], None]  # done, of how many


class Source(Protocol):
    """The features of all rows of a task: in memory (`Features`), on disk, or encoded whenever they are taken."""

    def take(self, rows: Tensor, /) -> Features: ...


class Prepared(NamedTuple):
    """A source whose features a probe prepares whenever they are taken, on a device."""

    probe: Probe
    source: Source
    device: str | torch.device

    def take(self, rows: Tensor, /) -> Features:
        return self.probe.prepare(self.source.take(rows).to(self.device))


def prepare(probe: Probe, features: Source, device: str | torch.device = "cpu") -> Source:
    """What the probe does without parameters: once where features are in memory, else whenever they are taken."""
    return probe.prepare(features) if isinstance(features, Features) else Prepared(probe, features, device)


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
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.steps:
            raise OscineError(
                f"fit.warmup is {self.warmup}, expected less than fit.steps, which is {self.steps}; a tenth is usual, "
                f"here fit.warmup {self.steps // 10}"
            )
        if self.batch_size < 1:
            raise OscineError(f"a batch of {self.batch_size} clips; a step needs at least 1")


def encode_task(
    encoder: Encoder,
    task: Task,
    needs: Needs,
    seconds: float | None = None,
    batch_size: int = 16,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> Features:
    """The features of every row, in the table's order, on the CPU; only what `needs` names is kept.

    The encoder is put into eval mode for this and is otherwise untouched. seconds: length of a clip, if not the encoder's.
    """
    clips = LabelledClips(task.rows, encoder.sample_rate, seconds or encoder.seconds)
    kept: list[Features] = []
    with evaluating(encoder), torch.inference_mode():
        for batch in read_batches(clips, batch_size, workers):
            features = encoder.features(encoder.spectrogram(batch, clips.samples), needs.layers)
            kept.append(needs.take(features).to("cpu"))
            progress(min(len(kept) * batch_size, len(clips)), len(clips))
    broken = sum(not all(tensor.isfinite().all() for tensor in batch) for batch in kept)
    if broken:
        raise OscineError(
            f"features of {broken} of {len(kept)} batches are not finite; the encoder's weights are broken"
        )
    return Features(
        cls=torch.cat([part.cls for part in kept], dim=1),
        patches=torch.cat([part.patches for part in kept], dim=1),
        pooled=torch.cat([part.pooled for part in kept]),
    )


def judge(
    make_probe: Callable[[], Probe],
    features: Source,
    task: Task,
    settings: FitSettings,
    progress: Progress = lambda done, total: None,
    device: str | torch.device = "cpu",
) -> Judgement:
    """Fit a fresh probe on every part of the task and score it on the part's own test rows.

    Features stay where they are; the probe, and a batch at a time, are on `device`.
    """
    judgement = Judgement([part.name for part in task.parts], [])
    with torch.random.fork_rng(devices=[]):
        prepared = prepare(make_probe(), features, device)
    for number, part in enumerate(task.parts):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            probe = make_probe().to(device)
            fit_probe(probe, prepared, task.targets, part.train, settings)
        judgement.probes.append(probe)
        judgement.logits.append(predict(probe, prepared, part.test))
        judgement.valid_logits.append(predict(probe, prepared, part.valid))
        judgement.metrics.append(score(judgement.logits[-1], task.targets[part.test]))
        progress(number + 1, len(task.parts))
    return judgement


def fit_probe(probe: Probe, prepared: Source, targets: Tensor, rows: Tensor, settings: FitSettings) -> None:
    """Fit a probe in place on some rows of a task.

    prepared: every row's features, as `prepare` gives them; targets [rows] or [rows, classes] as in `Task`; rows: the
    numbers of those to learn from. Nothing is copied but a batch at a time.
    """
    loss_function, targets = choose_loss(settings.loss, probe, targets)
    device = next(probe.parameters()).device
    optimizer = torch.optim.AdamW(
        probe.parameter_groups(settings.lr, settings.weight_decay), betas=(0.9, settings.beta2)
    )
    schedule = CosineLRScheduler(
        optimizer, settings.steps - settings.warmup, lr_min=1e-6, warmup_t=settings.warmup, warmup_lr_init=1e-6,
        warmup_prefix=True, t_in_epochs=False,
    )  # fmt: skip
    batches = endless_batches(len(rows), settings.batch_size, settings.seed)
    probe.train()
    for step, places in zip(range(settings.steps), batches):
        batch = rows[places]
        logits = probe.logits(prepared.take(batch).to(device))
        loss = loss_function(logits, targets[batch].to(device)) + probe.penalty()
        optimizer.zero_grad()
        loss.backward()
        if settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(probe.parameters(), settings.clip)
        optimizer.step()
        schedule.step_update(step + 1)
    probe.eval()


def predict(probe: Probe, prepared: Source, rows: Tensor, batch_size: int = 64) -> Tensor:  # [rows, classes]
    """A fitted probe's logits for some rows of prepared features, on the CPU."""
    if not len(rows):
        return torch.empty(0, probe.classes)
    device = next(probe.parameters()).device
    with torch.inference_mode():
        return torch.cat([probe.logits(prepared.take(batch).to(device)).cpu() for batch in rows.split(batch_size)])


def score(logits: Tensor, targets: Tensor) -> Metrics:
    """The metrics that the targets' shape asks for."""
    return single_label_metrics(logits, targets) if targets.ndim == 1 else multi_label_metrics(logits, targets)


def choose_loss(name: str | None, probe: Probe, targets: Tensor) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """The loss of that name, or the one that fits the targets, and the targets in the shape that it takes."""
    single = targets.ndim == 1
    name = name or ("cross_entropy" if single else "binary_cross_entropy")
    if name not in LOSSES:
        raise OscineError(f"no loss {name!r}; choose from {', '.join(LOSSES)}")
    if name == "cross_entropy":
        if not single:
            raise OscineError(
                "cross_entropy takes one label a row, some rows have none or several; use binary_cross_entropy"
            )
        return LOSSES[name], targets
    return LOSSES[name], one_hot(targets, probe.classes).float() if single else targets


def endless_batches(rows: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Row numbers batch by batch, shuffled anew every epoch; an epoch's batches are of nearly one size.

    None is much smaller than the others: batch norm takes its statistics from it.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = math.ceil(rows / batch_size)
    while True:
        yield from torch.randperm(rows, generator=generator).tensor_split(batches)


def without_nan(table: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in table.items()}
