"""The page of a probe's run: how good it is, how sure that is, which layers and sounds it goes by, where it errs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.json_text import dotted
from oscine.probe.fit.judge import FeatureSource, Judgement
from oscine.probe.fit.layer_scores import layer_scores
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.layer_gated import LayerGatedProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.report.cutouts import account_figure, cutout_figure
from oscine.probe.report.examples import Trial, clear_cases, explain, prototype_cutouts
from oscine.probe.report.explain import open_prototypes
from oscine.probe.report.figures import layer_figure
from oscine.probe.report.html import Report, gate_figure
from oscine.probe.report.patch_terms import has_patch_terms
from oscine.probe.report.score_sections import show_classes, show_reliability, show_scores
from oscine.probe.results.intervals import Assessment
from oscine.probe.tasks.task import Task

PLACES = "Below it: what every place adds, red for the class, blue against it. "
SHOWN_CLASSES = 6  # whose prototypes are shown: a page is to be read, and a picture takes about 160 kB


def portray(
    title: str,
    settings: Mapping[str, Any],
    encoder: Encoder,
    task: Task,
    judgement: Judgement,
    features: FeatureSource,
    evidence: Assessment,
    layers: FeatureSource | None = None,
    seconds: float | None = None,
) -> Report:
    """The report of what a clip-wise probe made of an encoder.

    Args:
        title: of the page.
        settings: of the run, nested as in its YAML.
        encoder, task, features, seconds: what `judgement` was made of.
        evidence: what `assess` says of it.
        layers: features of all layers as `layers.ALL_LAYERS` needs them, for the scores of each; None leaves these out.
    """
    page = Report(title)
    page.paragraph(
        f"The encoder {'learnt with the probe, in every part anew' if settings.get('finetune') else 'was frozen'}."
    )
    show_scores(page, task, judgement, evidence)
    _layers(page, task, judgement, layers)
    probe = copy.deepcopy(judgement.probes[0]).cpu()
    trial = Trial(encoder, task, task.parts[0], probe, judgement.logits[0], features, seconds)
    _prototypes(page, trial)
    _clips(page, trial)
    show_reliability(page, evidence)
    show_classes(page, task, judgement)
    show_settings(page, settings)
    return page


def show_settings(page: Report, settings: Mapping[str, Any]) -> None:
    shown = {name: value for name, value in settings.items() if name != "tuning" or settings.get("finetune")}
    page.heading("Settings")
    page.table(["setting", "value"], [[name, str(value)] for name, value in dotted(shown)])


def _layers(page: Report, task: Task, judgement: Judgement, layers: FeatureSource | None) -> None:
    if layers is not None or gated(judgement.probes):
        page.heading("Layers")
        show_gates(page, judgement.probes)
    if layers is not None:
        metric = task.kind.metric
        page.figure(
            layer_figure(layer_scores(layers, task), metric),
            f"What each layer tells by itself: {metric} of a logistic regression on its CLS and on the mean of its patches, "
            "mean and spread over parts. A layer that is low here may still hold, in single patches, what prototypes find.",
        )


def gated(probes: Sequence[Probe]) -> list[ConvexGatedProbe | LayerGatedProbe]:
    """Those that mix layers."""
    return [probe for probe in probes if isinstance(probe, (ConvexGatedProbe, LayerGatedProbe))]


def show_gates(page: Report, probes: Sequence[Probe]) -> None:
    if mixing := gated(probes):
        gates = np.array([probe.gate.detach().cpu().numpy() for probe in mixing])
        page.figure(
            gate_figure({"gate of each layer": gates}),
            "How much of each layer the probe mixes in, mean and spread over parts; the dashed line is even shares, where "
            "every gate starts. A gate near the line: the layer is as good as others, or the gate has learnt little.",
        )


def _prototypes(page: Report, trial: Trial) -> None:
    opened = open_prototypes(trial.probe)
    if opened is None:
        return
    page.heading("What prototypes look at")
    classes = _frequent(trial)[:SHOWN_CLASSES]
    page.paragraph(
        f"For {len(classes)} of {len(trial.task.classes)} classes: the prototypes with the greatest weights for the class, "
        f"of the probe of {trial.part.name}, and the judged clips that excite each most, with the activation. The box is "
        "where the patch lies that a prototype fits best, enlarged beside the clip with its neighbours. A patch's token has "
        "heard the whole clip, so the box is where the prototype looks, and not always all that it goes by. Clips that "
        "are not of the class are named in another colour."
    )
    for label, shown in prototype_cutouts(trial, opened, classes).items():
        page.figure(
            cutout_figure(shown, trial.ruler),
            f"Prototypes of {trial.task.classes[label]}, each with the judged clips that excite it most.",
            "webp",
        )


def _frequent(trial: Trial) -> list[int]:
    """Classes that are judged, the most frequent first."""
    targets = trial.task.targets[trial.part.test]
    counts = torch.bincount(targets, minlength=len(trial.task.classes)) if targets.ndim == 1 else targets.sum(0)
    return [label for label in counts.argsort(descending=True, stable=True).tolist() if counts[label]]


def _clips(page: Report, trial: Trial) -> None:
    explained = [(case, found) for case in clear_cases(trial) if (found := explain(trial, case)) is not None]
    if not explained:
        return
    page.heading("Predictions as sums")
    page.paragraph(
        f"A logit is the sum of what is drawn here: nothing is estimated. {_summands(trial.probe)} That a summand is large "
        "says what this probe went by here; not that the sound there is the class's, nor that another probe would go by it."
    )
    for case, (picture, account) in explained:
        labels = ", ".join(trial.labels(case.row)) or "no label"
        page.figure(
            account_figure(picture.spectrogram, account, picture.ruler),
            f"{trial.name(case.row)}, {labels}: why {trial.task.classes[case.label]}, with a probability of "
            f"{case.probability:.3f}, {'rightly' if case.right else 'wrongly'} so. Of all clips that were judged "
            f"{'rightly' if case.right else 'wrongly'} in {trial.part.name}, the probe is surest of this one. "
            f"Top: the clip. {PLACES if account.heat is not None else ''}Bottom: the sum.",
            "webp",
        )


def _summands(probe: Probe) -> str:
    """What they are."""
    if has_patch_terms(probe):
        return (
            "The constant is about what a typical clip of those learnt from would have come to, and a summand how far this "
            "clip differs from it."
        )
    return (
        "A summand is a prototype's activation, in brackets, times its weight for the class: its similarity "
        "to the patch that it fits best, and of a convex gated probe also to the one that it fits least, and to CLS or the "
        "mean patch: the middle one, which lies nowhere in the clip."
    )
