"""Write the page of a probe's run: how good it is, how sure that is, what it goes by, where it errs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oscine.models.json_text import dotted
from oscine.probe.fit.baselines import layer_scores
from oscine.probe.fit.judge import FeatureSource
from oscine.probe.heads.probe import LayerGate, Probe
from oscine.probe.report.cutouts import breakdown_figure, cutout_figure
from oscine.probe.report.examples import Judged, confident_examples, explain, prototype_cutouts
from oscine.probe.report.explain import as_prototype_probe, has_patch_terms
from oscine.probe.report.figures import gate_figure, layer_figure
from oscine.probe.report.html import Report
from oscine.probe.report.score_sections import show_classes, show_reliability, show_scores
from oscine.probe.results.intervals import Assessment
from oscine.probe.tasks.task import as_columns

PLACES = "Below it: what every place adds, red for the class, blue against it. "
SHOWN_CLASSES = 6  # whose prototypes are shown: a page is to be read, and a picture takes about 160 kB


def probe_report(
    title: str,
    judged: Judged,
    assessment: Assessment,
    *,
    layers: FeatureSource | None = None,
    finetuned: bool = False,
) -> Report:
    """Make the report of what a clip-wise probe made of an encoder.

    Args:
        title: of the page.
        judged: the judgement, and what it was made of.
        assessment: what `assess` says of it.
        layers: features as `baselines.ALL_LAYERS` needs them, for the scores of each layer; None leaves these out.
        finetuned: whether the encoder has learnt, too.
    """
    page = Report(title)
    page.paragraph(f"The encoder {'learnt with the probe, in every part anew' if finetuned else 'was frozen'}.")
    show_scores(page, judged.task, judged.judgement, assessment)
    _layers(page, judged, layers)
    _prototypes(page, judged)
    _clips(page, judged)
    show_reliability(page, assessment)
    show_classes(page, judged.task, judged.judgement)
    return page


def show_settings(page: Report, settings: Mapping[str, Any], command: str = "") -> None:
    """End a page with the settings of its run, nested as in its YAML, folded, and the command that made it, if known."""
    shown = {name: value for name, value in settings.items() if name != "tuning" or settings.get("finetune")}
    given = [
        [name, value if isinstance(value, str) else json.dumps(value, default=str)]
        for name, value in dotted(shown)
        if value not in (None, "")
    ]
    page.heading("Made by")
    if command:
        page.command(command)
    with page.folded("Every setting that has a value"):
        page.table(["setting", "value"], given, lines=True)


def _layers(page: Report, judged: Judged, layers: FeatureSource | None) -> None:
    probes, metric = judged.judgement.probes, judged.task.kind.metric
    if layers is not None or gated(probes):
        page.heading("Layers")
        show_gates(page, probes)
    if layers is not None:
        page.figure(
            layer_figure(layer_scores(layers, judged.task), metric),
            f"What each layer tells by itself: {metric} of a logistic regression on its CLS and on the mean of its patches, "
            "mean and spread over parts. A layer that is low here may still hold, in single patches, what prototypes find.",
        )


def gated(probes: Sequence[Probe]) -> list[LayerGate]:
    """Return those that mix layers."""
    return [probe for probe in probes if isinstance(probe, LayerGate) and probe.layers_read > 1]


def show_gates(page: Report, probes: Sequence[Probe]) -> None:
    if mixing := gated(probes):
        gates = np.array([probe.gate.detach().cpu().numpy() for probe in mixing])
        page.figure(
            gate_figure({"gate of each layer": gates}),
            "How much of each layer the probe mixes in, mean and spread over parts; the dashed line is even shares, where "
            "every gate starts. A gate near the line: the layer is as good as others, or the gate has learnt little.",
        )


def _prototypes(page: Report, judged: Judged) -> None:
    probe = as_prototype_probe(judged.probe)
    if probe is None:
        return
    page.heading("What prototypes look at")
    counts = as_columns(judged.task.targets[judged.part.test], len(judged.task.classes)).sum(0)
    order = counts.argsort(descending=True, stable=True).tolist()  # the most frequent classes first
    classes = [label for label in order if counts[label]][:SHOWN_CLASSES]
    page.paragraph(
        f"For {len(classes)} of {len(judged.task.classes)} classes: the prototypes with the greatest weights for the class, "
        f"of the probe of {judged.part.name}, and the judged clips that excite each most, with the activation. The box is "
        "where the patch lies that a prototype fits best, enlarged beside the clip with its neighbours. A patch's token has "
        "heard the whole clip, so the box is where the prototype looks, and not always all that it goes by. Clips that "
        "are not of the class are named in another colour."
    )
    for label, shown in prototype_cutouts(judged, probe, classes).items():
        page.figure(
            cutout_figure(shown, judged.mel_scale),
            f"Prototypes of {judged.task.classes[label]}, each with the judged clips that excite it most.",
            "webp",
        )


def _clips(page: Report, judged: Judged) -> None:
    explained = [(one, found) for one in confident_examples(judged) if (found := explain(judged, one)) is not None]
    if not explained:
        return
    page.heading("Predictions as sums")
    page.paragraph(
        f"A logit is the sum of what is drawn here: nothing is estimated. {_summands(judged.probe)} That a summand is large "
        "says what this probe went by here; not that the sound there is the class's, nor that another probe would go by it."
    )
    for example, (picture, breakdown) in explained:
        labels = ", ".join(judged.labels(example.row)) or "no label"
        page.figure(
            breakdown_figure(picture.spectrogram, breakdown, picture.mel_scale),
            f"{judged.name(example.row)}, {labels}: why {judged.task.classes[example.label]}, with a probability of "
            f"{example.probability:.3f}, {'rightly' if example.right else 'wrongly'} so. Of all clips that were judged "
            f"{'rightly' if example.right else 'wrongly'} in {judged.part.name}, the probe is surest of this one. "
            f"Top: the clip. {PLACES if breakdown.heat is not None else ''}Bottom: the sum.",
            "webp",
        )


def _summands(probe: Probe) -> str:
    """Say what the summands of a logit are."""
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
