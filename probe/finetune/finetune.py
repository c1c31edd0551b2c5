"""Fine-tuning: an encoder and a probe learn together from a task's waveforms, and are judged like a frozen one's probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from oscine.models.audio.clip_random import derive_seed
from oscine.models.audio.scan import find_recordings
from oscine.models.audio.workers import read_in_processes
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.precision import FLOAT32, choose_precision, computing
from oscine.models.errors import OscineError
from oscine.models.hub.origin import origin_of
from oscine.probe.deploy.fitted import FittedProbe, final_probe
from oscine.probe.finetune.augment import augment_batch
from oscine.probe.finetune.clips import Clips, TrainingClips
from oscine.probe.finetune.layer_decay import encoder_groups, has_blocks
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.judge import (
    FitSettings,
    Judgement,
    as_shares,
    choose_loss,
    main_score,
    score,
    silent,
)
from oscine.probe.fit.losses import LOSSES
from oscine.probe.fit.optimise import TrainingLoop, training_batches
from oscine.probe.fit.settings import check_selection
from oscine.probe.heads.probe import Probe
from oscine.probe.tasks.task import NO_ROWS, LabelledClips, Part, Task, read_batches

NOW, ALL = "now", "all"  # states: of the part that is being learnt from, and of what has learnt from all rows
States = MutableMapping[str, Any]
Progress = Callable[[int, int, str], None]  # done, of how many, and a note


def forget(states: States) -> None:
    """Where a part stood that is done."""
    if NOW in states:
        del states[NOW]


def within(progress: Progress, name: str, before: int, total: int) -> Progress:
    """Progress of a part of what is to be done."""
    return lambda done, _, note: progress(before + done, total, f"{name}, {note}")


class Learner(nn.Module):
    """An encoder and a probe that learn together: prepared clips [clips, ...] to logits [clips, classes]."""

    def __init__(self, encoder: Encoder, probe: Probe) -> None:
        super().__init__()
        self.encoder = encoder
        self.probe = probe

    def forward(self, prepared: Tensor) -> Tensor:
        features = self.encoder.features(prepared, self.probe.needs.layers).to(torch.float32)
        with torch.autocast(prepared.device.type, enabled=False):
            return self.probe(features)


@dataclass(frozen=True)
class FineTuning:
    """What is fine-tuned, and how.

    encoder: what every part begins with; it stays as it is, and all is computed on its device. seconds: length of a clip, if
    not the encoder's. batch_size: clips that are judged at once. workers: processes that read.
    """

    make_probe: Callable[[], Probe]
    encoder: Encoder
    task: Task
    fit: FitSettings
    tuning: TuningSettings
    seconds: float | None = None
    batch_size: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        check_selection(self.fit.select_every, self.task.parts)
        check_able(self.encoder, self.tuning)
        choose_precision(self.tuning.precision, self.encoder.device)  # an error where that would be fatal
        _ = self.background  # what is not there is said before anything is done

    def judge(self, states: States, progress: Progress = silent, name: str = "", keep: bool = True) -> Judgement:
        """Fine-tune on every part of the task, from the same weights, and score what comes of it on the part's test rows.

        states: where it keeps how far it is; with what a killed one has left there, it goes on and ends with the same bits.
        name: before the states' own, where several judgements share them. keep: also the first part's encoder, see
        `first_encoder`.
        """
        judgement, total = Judgement([part.name for part in self.task.parts], []), len(self.task.parts) * self.fit.steps
        for number, part in enumerate(self.task.parts):
            inside = within(progress, part.name, number * self.fit.steps, total)
            found = self.outcome(part, f"{name}{number}", states, inside, keep and number == 0)
            judgement.probes.append(self.probe_of(found))
            judgement.steps.append(found["steps"])
            judgement.logits.append(found["logits"])
            judgement.valid_logits.append(found["valid"])
            judgement.metrics.append(score(found["logits"], self.task.targets[part.test]))
        return judgement

    def outcome(self, part: Part, name: str, states: States, progress: Progress, keep: bool) -> Mapping[str, Any]:
        """What has come of a part, kept as a state; with the encoder, if that is to be kept."""
        if name not in states:
            learner, steps = self.learn(part, name, states, progress)
            states[name] = {
                "steps": steps,
                "probe": learner.probe.state_dict(),
                "encoder": learner.encoder.state_dict() if keep else {},
                "logits": self.answers(learner, part.test),
                "valid": self.answers(learner, part.valid),
            }
            forget(states)
        progress(self.fit.steps, self.fit.steps, "judged")
        return states[name]

    def first_encoder(self, states: States) -> Encoder:
        """As the first part has left it."""
        return self.encoder_of(states["0"])

    def kept(
        self, judgement: Judgement, head: dict[str, Any], states: States, progress: Progress = silent, name: str = ""
    ) -> FittedProbe:
        """The probe that is worth keeping with its encoder, chosen as `keep_probe` does for a frozen one.

        Of folds it is a further one that learns from all rows, as many steps as the folds' (their median).
        """
        if len(self.task.parts) == 1:
            encoder, probe = self.first_encoder(states), judgement.probes[0]
        else:
            if ALL not in states:
                part = Part(ALL, torch.cat([part.train for part in self.task.parts]).unique(), NO_ROWS)
                learner, _ = self.learn(part, ALL, states, progress, int(np.median(judgement.steps)))
                states[ALL] = {"probe": learner.probe.state_dict(), "encoder": learner.encoder.state_dict()}
                forget(states)
            encoder, probe = self.encoder_of(states[ALL]), self.probe_of(states[ALL])
        fitted = final_probe(probe, encoder, head, task=self.task, judgement=judgement, seconds=self.seconds, name=name)
        settings = {"lr": self.fit.lr, "steps": self.fit.steps, **vars(self.tuning)}
        settings["background"] = self.tuning.background and self.tuning.background.name
        began_with = self.encoder.provenance
        return replace(fitted, fitted_on=fitted.fitted_on | {"finetuned": settings | {"began_with": began_with}})

    def learn(
        self, part: Part, name: str, states: States, progress: Progress = silent, steps: int | None = None
    ) -> tuple[Learner, int]:
        """What learns from a part's rows to train on, in eval mode, and after how many steps it is as it is left."""
        learner = self.begin()
        learning = self.learning(learner, part.valid, steps)
        loss = self.loss(learner)
        now = states.get(NOW)
        if now and now["name"] == name:
            learning.resume(now)
        with torch.random.fork_rng(devices=[self.encoder.device] if self.encoder.device.type == "cuda" else []):
            for step, clips in enumerate(self.clips(part.train, learning.step, learning.last), learning.step + 1):
                # Of dropout and drop path: whoever resumes draws the same.
                torch.manual_seed(derive_seed(self.fit.seed, step))
                found = loss(clips)
                learning.take_step(found, partial(self.check_finite, step, clips))
                if step % self.tuning.save_every == 0 or step == learning.last:
                    states[NOW] = {"name": name} | learning.state()
                progress(step, learning.last, f"loss {found.item():.4f}")
        return learner, learning.end()

    def begin(self) -> Learner:
        """A fresh probe and the encoder's weights, with drop path: the same for every part."""
        changes = {"drop_path": self.tuning.drop_path} if "drop_path" in self.encoder.config else {}
        encoder = rebuilt(self.encoder, **changes)
        return Learner(encoder, self.fresh_probe()).to(self.encoder.device)

    def learning(self, learner: Learner, valid: Tensor, steps: int | None) -> TrainingLoop:
        """As the fit's settings say for a probe; the encoder's learning rate decays from layer to layer."""
        fit = self.fit
        groups = encoder_groups(learner.encoder, fit.lr, fit.weight_decay, self.tuning.layer_decay)
        groups += learner.probe.parameter_groups(fit.lr, fit.weight_decay)
        return TrainingLoop(learner, groups, fit, partial(self.value, learner, valid) if len(valid) else None, steps)

    def clips(self, rows: Tensor, first: int, last: int) -> Iterator[Clips]:
        """What is learnt from after step `first`, up to step `last`."""
        steps = zip(count(first + 1), islice(training_batches(rows, self.task.targets, self.fit), first, last))
        seconds = self.seconds or self.encoder.seconds
        clips = TrainingClips(self.task, self.encoder.sample_rate, seconds, self.fit.seed, self.background)
        return read_in_processes(clips, steps, workers=self.workers)

    def loss(self, learner: Learner) -> Callable[[Clips], Tensor]:
        """What a step's clips cost, augmented and with the probe's penalty."""
        device, precision = self.encoder.device, self.precision
        function = choose_loss(self.fit.loss, self.task.kind)
        if function is LOSSES["cross_entropy"]:
            function = cross_entropy  # torch's, which takes shares: blended clips have them of two classes

        def cost(clips: Clips) -> Tensor:
            own = as_shares(self.task.targets[clips.rows], learner.probe.classes)
            prepared, wanted = augment_batch(learner.encoder, clips, own, self.task.kind, self.tuning)
            with computing(precision, device):
                logits = learner(prepared)
            return function(logits, wanted.to(device)) + learner.probe.penalty()

        return cost

    @cached_property
    def background(self) -> list[Path]:
        """The recordings that are laid over clips, listed once for all parts."""
        return find_recordings(self.tuning.background) if self.tuning.background else []

    @property
    def precision(self) -> str:
        """In which the encoder learns."""
        return choose_precision(self.tuning.precision, self.encoder.device)

    def check_finite(self, step: int, clips: Clips, loss: Tensor, norm: Tensor) -> None:
        """An error before a step spoils the weights."""
        if not torch.stack([loss.detach(), norm]).isfinite().all():
            paths = ", ".join(dict.fromkeys(self.task.rows["path"].iloc[clips.rows.numpy()]))
            raise OscineError(
                f"the loss is {loss.item():g}, its gradient {norm.item():g} at step {step}, of {paths}; leave out what is "
                "broken, or begin anew with a lower fit.lr or a fit.clip"
            )

    def value(self, learner: Learner, rows: Tensor) -> float:
        """What a step is worth by rows to choose by."""
        return main_score(self.answers(learner, rows), self.task.targets[rows])

    @torch.inference_mode()
    def answers(self, learner: Learner, rows: Tensor) -> Tensor:  # [rows, classes], on the CPU
        """The logits of some rows, which are heard as they are."""
        if not len(rows):
            return torch.empty(0, learner.probe.classes)
        encoder = learner.encoder
        clips = LabelledClips(self.task.rows.iloc[rows.numpy()], encoder.sample_rate, self.seconds or encoder.seconds)
        batches = read_batches(clips, self.batch_size, self.workers)
        with computing(FLOAT32, encoder.device):
            return torch.cat([learner(encoder.prepare_clips(batch, clips.samples)).cpu() for batch in batches])

    def encoder_of(self, state: Mapping[str, Any]) -> Encoder:
        """A fine-tuned encoder: like the one that was given, and it says with whose weights it began, not to have them."""
        made = rebuilt(self.encoder)
        made.load_state_dict(state["encoder"])
        made.origin = origin_of(self.encoder)
        return made.eval()

    def probe_of(self, state: Mapping[str, Any]) -> Probe:
        probe = self.fresh_probe()
        probe.load_state_dict(state["probe"])
        return probe.to(self.encoder.device).eval()

    def fresh_probe(self) -> Probe:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.fit.seed)
            return self.make_probe()


def check_able(encoder: Encoder, tuning: TuningSettings) -> None:
    """Raise where an encoder cannot learn, or not in the way that is asked for."""
    name = type(encoder).__name__
    if not encoder.trainable:
        raise OscineError(f"{name} cannot be fine-tuned: no gradients reach its weights; leave --finetune out")
    if tuning.drop_path and "drop_path" not in encoder.config:
        raise OscineError(
            f"tuning.drop_path is {tuning.drop_path:g}, but {name} has no paths to drop; give --tuning.drop_path 0"
        )
    if tuning.masks and not encoder.spectral:
        raise OscineError(
            f"tuning.masks is {tuning.masks:g}, but {name} computes on no spectrogram in which bands can be hidden; give "
            "--tuning.masks 0"
        )
    if tuning.layer_decay < 1 and not has_blocks(encoder):
        raise OscineError(
            f"tuning.layer_decay is {tuning.layer_decay:g}, but {name} has no layers below {encoder.block_path!r} by which "
            "learning rates could decay; give --tuning.layer_decay 1, or set its block_path"
        )


def rebuilt(encoder: Encoder, **changes: Any) -> Encoder:
    """An encoder of its own with the weights of another, its settings but for some, and no provenance."""
    with torch.random.fork_rng(devices=[]):
        made = type(encoder)(**encoder.config | changes)
    made.load_state_dict(encoder.state_dict())
    return made.to(encoder.device)
