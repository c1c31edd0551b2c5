"""Hold a fitted probe with its encoder, waveforms in and probabilities out; choose the one of a task to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import digest, fingerprint
from oscine.models.encoders.base.provenance import Origin
from oscine.models.errors import OscineError
from oscine.models.plugins.classes import module_of
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.fit.frames import FrameJudgement
from oscine.probe.fit.judge import FeatureSource, Judgement, fit_probe, judge, prepare
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.settings import is_framewise
from oscine.probe.metrics.calibration import Scaling
from oscine.probe.metrics.decisions import as_probabilities, fit_decision_rule
from oscine.probe.metrics.sound_events import MEDIAN
from oscine.probe.tasks.class_names import as_known
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Task

OF_ALL_CLASSES = ("negatives", "sounds_like_noise")  # facts that are no longer true where some classes are left out


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """What was learnt, ready to hear.

    head          the settings that the probe was built with, beside encoder and classes
    classes       names, in the order of the logits
    seconds       of a clip, which need not be the encoder's
    kind          whether a clip has one of the classes (softmax), or any number of them (sigmoid), or each of its frames
    scaling       what calibrates the logits; None leaves them as they are
    thresholds    [classes], probabilities from which on to say yes; None where no rows were left to choose them by
    fitted_on     task, rows and parts that it was fitted on
    scores        of the task's judgement, by metric
    origin        whose probe it is, or was before it was fitted further; None where nobody else's
    median        frames that a frame-wise probe's answers are filtered by before they reach a threshold, see `find_events`
    columns       the numbers of the logits that it answers for, see `only`; None is all
    """

    probe: Probe
    encoder: Encoder
    head: dict[str, Any]
    classes: list[str]
    seconds: float
    kind: TaskKind
    scaling: Scaling | None = None
    thresholds: Tensor | None = None
    fitted_on: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)
    origin: Origin | None = None
    median: int = MEDIAN
    columns: tuple[int, ...] | None = None

    @property
    def samples(self) -> int:
        """The length of a clip."""
        return round(self.seconds * self.encoder.sample_rate)

    @property
    def single_label(self) -> bool:
        """Whether a clip has exactly one of the classes."""
        return self.kind is TaskKind.SINGLE

    @property
    def frame_seconds(self) -> float | None:
        """From one frame to the next of a frame-wise probe; None where there is one answer a clip."""
        return self.encoder.step_seconds if is_framewise(self.head.get("pool")) else None

    @torch.inference_mode()
    def __call__(self, waveform: Tensor) -> Tensor:
        """Probabilities [batch, classes], frame-wise [batch, time, classes], of clips [batch, samples].

        They are at the encoder's rate; shorter ones are filled up as in its training. It has to be in eval mode, as
        `load_probe` leaves it.
        """
        if waveform.ndim != 2 or not 0 < waveform.shape[1] <= self.samples:
            raise OscineError(
                f"waveform has shape {tuple(waveform.shape)}, expected [batch, samples] with up to {self.samples} samples; "
                f"split_clips(waveform, {self.samples}) cuts a longer one"
            )
        return self.probabilities(self.encoder.prepare_clips(list(waveform), self.samples))

    def probabilities(self, prepared: Tensor) -> Tensor:
        """Do the same with what the encoder has prepared of clips, [batch, ...]; the probe computes in float32."""
        features = self.encoder.features(prepared, self.probe.needs.layers).to(torch.float32)
        with torch.autocast(prepared.device.type, enabled=False):
            probabilities = as_probabilities(self.probe(features), self.kind, self.scaling)
        return probabilities if self.columns is None else probabilities[..., list(self.columns)]

    def only(self, classes: Sequence[str]) -> FittedProbe:
        """Return the same probe, answering for these of its classes alone, in this order; a name that it lacks is an error.

        Their probabilities stay what they were: with softmax they are shares among all of its classes.
        """
        classes = as_known(classes, self.classes)
        places = [self.classes.index(name) for name in classes]
        return replace(
            self,
            classes=list(classes),
            columns=tuple(places if self.columns is None else (self.columns[place] for place in places)),
            thresholds=None if self.thresholds is None else self.thresholds[places],
            fitted_on={key: fact for key, fact in self.fitted_on.items() if key not in OF_ALL_CLASSES},
        )

    def describe(self) -> dict[str, Any]:
        """Describe it in JSON, without the encoder."""
        scaling = self.scaling and {name: values.tolist() for name, values in self.scaling._asdict().items()}
        return {
            "probe": type(self.probe).__name__,
            **({"probe_module": module} if (module := module_of(type(self.probe))) else {}),
            "head": self.head,
            "classes": self.classes,
            "single_label": self.single_label,
            "scaling": scaling,
            "probe_fingerprint": probe_fingerprint(self.probe.stored(), self.encoder),
        }


def probe_fingerprint(tensors: Mapping[str, Tensor], encoder: Encoder) -> str:
    """Hash the tensors of a probe; of one without any, which hands on its encoder's scores, the encoder's."""
    return digest(tensors) if tensors else fingerprint(encoder)


def check_whole(fitted: FittedProbe, done: str) -> None:
    """Raise where a probe answers for some of its classes alone. done: what was to be done with it."""
    if fitted.columns is not None:
        raise OscineError(
            f"this probe answers for {len(fitted.classes)} of its classes and cannot be {done} so; take the one that "
            "load_probe returned"
        )


@dataclass(frozen=True)
class ProbeFit:
    """A task, its features by a frozen encoder, and how probes are fitted on them.

    make_probe  makes a fresh probe, with the settings `head`
    features    of the task's rows, by the encoder
    seconds     of a clip, if not the encoder's
    name        of the task
    preparing   progress of clips, see `prepare`
    """

    make_probe: Callable[[], Probe]
    head: dict[str, Any]
    encoder: Encoder
    features: FeatureSource
    task: Task
    settings: FitSettings
    seconds: float | None = None
    device: str | torch.device = "cpu"
    name: str = ""
    preparing: ShowProgress = show_nothing

    def judge(self, progress: ShowProgress = show_nothing) -> Judgement:
        return judge(
            self.make_probe, self.features, self.task, self.settings, progress, self.device, preparing=self.preparing
        )


def keep_probe(fit: ProbeFit, judgement: Judgement, progress: ShowProgress = show_nothing) -> FittedProbe:
    """Return the probe that is worth keeping of those that a task was judged by.

    Of a split it is the judged one, and the split's `valid` rows, if any, choose scaling and thresholds. Of folds it is one
    that is fitted on all rows; scaling and thresholds come from what each fold's probe said of rows that it had not learnt
    from: nobody is judged by those choices any more.
    """
    probe = judgement.probes[0] if len(fit.task.parts) == 1 else fit_on_all(fit, judgement.steps, progress)
    return final_probe(
        probe.to(fit.encoder.device), fit.encoder, fit.head,
        task=fit.task, judgement=judgement, seconds=fit.seconds, name=fit.name,
    )  # fmt: skip


def final_probe(
    probe: Probe,
    encoder: Encoder,
    head: dict[str, Any],
    *,
    task: Task,
    judgement: Judgement,
    seconds: float | None = None,
    name: str = "",
) -> FittedProbe:
    """Make a probe with its encoder the one to keep, scaled and with thresholds as `keep_probe` chooses them."""
    if len(task.parts) == 1:
        logits, rows = judgement.valid_logits[0], task.parts[0].valid
    else:
        logits, rows = torch.cat(judgement.logits), torch.cat([part.test for part in task.parts])
    choice = fit_decision_rule(logits, task.targets[rows]) if len(rows) else None
    learnt = torch.cat([part.train for part in task.parts]).unique()
    return FittedProbe(
        probe,
        encoder,
        head,
        task.classes,
        seconds or encoder.seconds,
        task.kind,
        choice and choice.scaling,
        choice and choice.thresholds,
        {"task": name, "rows": len(learnt), "judged": judgement.parts},
        judgement.as_dict()["mean"],
    )


def keep_frames(
    judgement: FrameJudgement, encoder: Encoder, head: dict[str, Any], *, task: FrameTask, name: str = ""
) -> FittedProbe:
    """Keep the probe of the first part, with the threshold and the median that its validation rows chose together."""
    decision = judgement.decision(0)
    return FittedProbe(
        judgement.probes[0].to(encoder.device),
        encoder,
        head,
        task.classes,
        task.seconds,
        TaskKind.FRAMES,
        thresholds=torch.full((len(task.classes),), decision.threshold),
        fitted_on={"task": name, "rows": len(task.parts[0].train), "judged": judgement.parts},
        scores=judgement.as_dict()["mean"],
        median=decision.median,
    )


def fit_on_all(fit: ProbeFit, steps: Sequence[int] = (), progress: ShowProgress = show_nothing) -> Probe:
    """Fit a fresh probe, as `judge` fits, on every row that any part learns from.

    steps: that the parts' probes have learnt from; their median is enough, no row being left to choose a best step by.
    """
    rows = torch.cat([part.train for part in fit.task.parts]).unique()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.settings.seed)
        probe = fit.make_probe().to(fit.device)
        prepared = prepare(probe, fit.features, fit.device, rows=rows, progress=fit.preparing)
        enough = int(np.median(steps)) if steps else None
        fit_probe(probe, prepared, fit.task.targets, rows, fit.settings, steps=enough, progress=progress)
    return probe
