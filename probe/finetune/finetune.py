"""Fine-tune an encoder and a probe together on a task's waveforms, and judge them as a frozen encoder's probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from oscine.models.audio.clip_random import derive_seed
from oscine.models.audio.scan import find_recordings
from oscine.models.audio.workers import read_in_processes
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.precision import FLOAT32, choose_precision, computing
from oscine.models.errors import OscineError
from oscine.models.hub.origin import origin_of
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.deploy.fitted_probe import FittedProbe, final_probe
from oscine.probe.finetune.clips import Clips, TrainingClips, augment_batch
from oscine.probe.finetune.learner import Learner, check_able, encoder_groups, rebuilt
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.judge import Judgement, as_shares, choose_loss, main_score, score
from oscine.probe.fit.losses import LOSSES
from oscine.probe.fit.optimise import TrainingLoop, training_batches
from oscine.probe.fit.settings import FitSettings, check_selection
from oscine.probe.heads.probe import Probe
from oscine.probe.tasks.task import NO_ROWS, LabelledClips, Part, Task, read_batches

# States, beside those of the parts by their numbers: of the part that learns now, and of what has learnt from all rows.
NOW, ALL = "now", "all"
States = MutableMapping[str, Any]


@dataclass(frozen=True)
class FineTuning:
    """A task, an encoder that every part of it begins with, and how both learn.

    encoder: stays as it is, and all is computed on its device. seconds: length of a clip, if not the encoder's. batch_size:
    clips that are judged at once. workers: processes that read.
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
        choose_loss(self.fit.loss, self.task.kind)
        _ = self.precision, self.background  # what cannot be is said before anything is done

    @cached_property
    def precision(self) -> str:
        """Choose the precision in which the encoder learns; raise where that would be fatal."""
        return choose_precision(self.tuning.precision, self.encoder.device)

    @cached_property
    def background(self) -> list[Path]:
        """List the recordings that are laid over clips, once for all parts."""
        return find_recordings(self.tuning.background) if self.tuning.background else []

    @property
    def clip_seconds(self) -> float:
        return self.seconds or self.encoder.seconds

    def judge(
        self, states: States, progress: ShowProgress = show_nothing, name: str = "", keep: bool = True
    ) -> Judgement:
        """Fine-tune on every part of the task, from the same weights, and score the rows that the part is judged on.

        states: where it keeps how far it is; with what a killed one has left there, it goes on and ends with the same bits.
        name: before the states' own, where several judgements share them. keep: also the first part's encoder, see
        `first_encoder`.
        """
        judgement, steps = Judgement([part.name for part in self.task.parts], []), self.fit.steps
        for number, part in enumerate(self.task.parts):

            def shown(done: int, _: int, note: str, number: int = number, name: str = part.name) -> None:
                progress(number * steps + done, len(self.task.parts) * steps, f"{name}, {note}")

            state = self.learnt(part, f"{name}{number}", states, shown, keep=keep and number == 0)
            shown(steps, steps, "judged")
            judgement.probes.append(self.probe_of(state))
            judgement.steps.append(state["steps"])
            judgement.logits.append(state["logits"])
            judgement.valid_logits.append(state["valid"])
            judgement.metrics.append(score(state["logits"], self.task.targets[part.test]))
        return judgement

    def first_encoder(self, states: States) -> Encoder:
        """Rebuild the encoder as the first part has left it."""
        return self.encoder_of(states["0"])

    def final_probe(
        self,
        judgement: Judgement,
        head: dict[str, Any],
        states: States,
        *,
        progress: ShowProgress = show_nothing,
        name: str = "",
    ) -> FittedProbe:
        """Choose the probe that is worth keeping with its encoder, as `keep_probe` does for a frozen one.

        Of folds it is a further one that learns from all rows, as many steps as the folds' (their median).
        """
        if len(self.task.parts) == 1:
            encoder, probe = self.first_encoder(states), judgement.probes[0]
        else:
            whole = Part(ALL, torch.cat([part.train for part in self.task.parts]).unique(), NO_ROWS)
            state = self.learnt(whole, ALL, states, progress, steps=int(np.median(judgement.steps)))
            encoder, probe = self.encoder_of(state), self.probe_of(state)
        fitted = final_probe(probe, encoder, head, task=self.task, judgement=judgement, seconds=self.seconds, name=name)
        settings = {"lr": self.fit.lr, "steps": self.fit.steps, **vars(self.tuning)}
        settings["background"] = self.tuning.background and self.tuning.background.name
        began_with = self.encoder.provenance
        return replace(fitted, fitted_on=fitted.fitted_on | {"finetuned": settings | {"began_with": began_with}})

    def learnt(
        self,
        part: Part,
        name: str,
        states: States,
        progress: ShowProgress,
        *,
        steps: int | None = None,
        keep: bool = True,
    ) -> Mapping[str, Any]:
        """Return the state in which a part ends, and learn it first where there is none. keep: the encoder, too."""
        if name not in states:
            learner, last = self.learn(part, name, states, progress, steps)
            states[name] = {
                "steps": last,
                "probe": learner.probe.state_dict(),
                "encoder": learner.encoder.state_dict() if keep else {},
                "logits": self.predict(learner, part.test),
                "valid": self.predict(learner, part.valid),
            }
            if NOW in states:
                del states[NOW]
        return states[name]

    def learn(
        self, part: Part, name: str, states: States, progress: ShowProgress = show_nothing, steps: int | None = None
    ) -> tuple[Learner, int]:
        """Train a learner on a part's rows; return it in eval mode, and the step whose weights it has."""
        fit, learner = self.fit, self.begin()
        groups = encoder_groups(learner.encoder, fit.lr, fit.weight_decay, self.tuning.layer_decay)
        groups += learner.probe.parameter_groups(fit.lr, fit.weight_decay)

        def value() -> float:
            return main_score(self.predict(learner, part.valid), self.task.targets[part.valid])

        loop = TrainingLoop(learner, groups, fit, value if len(part.valid) else None, steps)
        now = states.get(NOW)
        if now and now["name"] == name:
            loop.resume(now)
        batches = islice(training_batches(part.train, self.task.targets, fit), loop.step, loop.last)
        clips = TrainingClips(self.task, self.encoder.sample_rate, self.clip_seconds, fit.seed, self.background)
        numbered = zip(count(loop.step + 1), batches)
        with torch.random.fork_rng(devices=[self.encoder.device] if self.encoder.device.type == "cuda" else []):
            for step, batch in enumerate(read_in_processes(clips, numbered, workers=self.workers), loop.step + 1):
                torch.manual_seed(derive_seed(fit.seed, step))  # of dropout and drop path, the same after a resume
                loss = self.loss(learner, batch)
                loop.take_step(loss, partial(self.check_finite, step, batch))
                if step % self.tuning.save_every == 0 or step == loop.last:
                    states[NOW] = {"name": name} | loop.state()
                progress(step, loop.last, f"loss {loss.item():.4f}")
        return learner, loop.end()

    def begin(self) -> Learner:
        """Build what every part begins with: a fresh probe and the encoder's weights, with drop path."""
        changes = {"drop_path": self.tuning.drop_path} if "drop_path" in self.encoder.config else {}
        return Learner(rebuilt(self.encoder, **changes), self.fresh_probe()).to(self.encoder.device)

    def loss(self, learner: Learner, clips: Clips) -> Tensor:  # []
        """Compute the loss of a step's clips, augmented and with the probe's penalty."""
        function = choose_loss(self.fit.loss, self.task.kind)
        if function is LOSSES["cross_entropy"]:
            function = cross_entropy  # torch's, which takes shares: blended clips have them of two classes
        shares = as_shares(self.task.targets[clips.rows], learner.probe.classes)
        prepared, targets = augment_batch(learner.encoder, clips, shares, self.task.kind, self.tuning)
        with computing(self.precision, self.encoder.device):
            logits = learner(prepared)
        return function(logits, targets.to(self.encoder.device)) + learner.probe.penalty()

    def check_finite(self, step: int, clips: Clips, loss: Tensor, norm: Tensor) -> None:
        """Raise before a step spoils the weights."""
        if not torch.stack([loss.detach(), norm]).isfinite().all():
            paths = ", ".join(dict.fromkeys(self.task.rows["path"].iloc[clips.rows.numpy()]))
            raise OscineError(
                f"the loss is {loss.item():g}, its gradient {norm.item():g} at step {step}, of {paths}; leave out what is "
                "broken, or begin anew with a lower fit.lr or a fit.clip"
            )

    @torch.inference_mode()
    def predict(self, learner: Learner, rows: Tensor) -> Tensor:  # [rows, classes], on the CPU
        """Compute the logits of some rows, whose clips are not augmented."""
        if not len(rows):
            return torch.empty(0, learner.probe.classes)
        encoder = learner.encoder
        clips = LabelledClips(self.task.rows.iloc[rows.numpy()], encoder.sample_rate, self.clip_seconds)
        batches = read_batches(clips, self.batch_size, self.workers)
        with computing(FLOAT32, encoder.device):
            return torch.cat([learner(encoder.prepare_clips(batch, clips.samples)).cpu() for batch in batches])

    def encoder_of(self, state: Mapping[str, Any]) -> Encoder:
        """Rebuild a fine-tuned encoder from its state; its origin is that of the encoder whose weights it began with."""
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
