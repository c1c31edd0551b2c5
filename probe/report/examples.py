"""The recordings behind a probe's scores: those that excite its prototypes most, and single clips explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.encoders.base.state import evaluating
from oscine.models.encoders.frontends.mel_scale import Ruler
from oscine.models.encoders.frontends.picture import Picture
from oscine.probe.fit.judge import FeatureSource
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.metrics.decisions import as_probabilities
from oscine.probe.report.boxes import Box, box_of
from oscine.probe.report.cutouts import Account, Cutout
from oscine.probe.report.explain import (
    GREATEST,
    NOWHERE,
    Prototypes,
    open_prototypes,
    prototype_terms,
    strongest,
)
from oscine.probe.report.patch_terms import has_patch_terms, patch_terms
from oscine.probe.tasks.task import LabelledClips, Part, Task

KINDS = {1: ("",), 3: (", least", ", middle", ", greatest")}  # of activation, by how many a prototype has
NAMED = 8  # summands that have a bar of their own


@dataclass(frozen=True)
class Trial:
    """One part of a judgement, with all that it takes to look into it.

    probe: fitted, on the CPU. logits: of the rows that the part is judged on. features: of the whole task, as the probe
    needs them. seconds: length of a clip, if not the encoder's.
    """

    encoder: Encoder
    task: Task
    part: Part
    probe: Probe
    logits: Tensor
    features: FeatureSource
    seconds: float | None = None

    def pictures(self, rows: Sequence[int]) -> list[Picture]:
        return pictures(self.encoder, self.task.rows.iloc[list(rows)], self.seconds)

    def clips(self, rows: Sequence[int]) -> LabelledClips:
        return clips_of(self.encoder, self.task.rows.iloc[list(rows)], self.seconds)

    @cached_property
    def ruler(self) -> Ruler:
        """Of its pictures, whatever is seen in them."""
        return self.encoder.picture(torch.zeros(self.encoder.samples)).ruler

    @property
    def grid(self) -> tuple[int, int]:
        """(time, freq) patches of a clip."""
        return self.encoder.steps(self.clips([]).samples), self.encoder.grid[1]

    @property
    def patch(self) -> tuple[float, float]:
        """Frames and mel bands of a picture that a patch covers."""
        return self.encoder.step_seconds / self.ruler.frame_seconds, self.ruler.bands / self.encoder.grid[1]

    def labels(self, row: int) -> list[str]:
        return self.task.rows["labels"].iloc[row]

    def name(self, row: int) -> str:
        """Of a row: its file's, and where in it the row begins."""
        start = self.task.rows["start"].iloc[row] if "start" in self.task.rows else 0.0
        return Path(self.task.rows["path"].iloc[row]).stem + (f" @ {start:g} s" if start > 0 else "")


def pictures(encoder: Encoder, rows: DataFrame, seconds: float | None = None) -> list[Picture]:
    """The spectrograms of some rows. seconds: length of a clip, if not the encoder's."""
    clips = clips_of(encoder, rows, seconds)
    with evaluating(encoder), torch.inference_mode():
        return [encoder.picture(clips[row], clips.samples) for row in range(len(clips))]


def clips_of(encoder: Encoder, rows: DataFrame, seconds: float | None) -> LabelledClips:
    return LabelledClips(rows, encoder.sample_rate, seconds or encoder.seconds)


def prototype_cutouts(
    trial: Trial, opened: Prototypes, classes: Sequence[int], prototypes: int = 3, clips: int = 3
) -> dict[int, dict[str, list[Cutout]]]:
    """For each class the prototypes that count most for it, by weight, and the judged clips that excite each most."""
    chosen: dict[int, list[tuple[int, float]]] = {}
    for label in classes:
        numbers, weights = opened.own(label)
        best = weights[:, GREATEST].detach().topk(min(prototypes, len(numbers)))
        chosen[label] = list(zip(numbers[best.indices].tolist(), best.values.tolist()))
    columns = [number for some in chosen.values() for number, _ in some]
    finding = strongest(trial.probe, opened, trial.features, trial.part.test, torch.tensor(columns), clips)
    rows = finding.rows.unique().tolist()
    shown = dict(zip(rows, trial.pictures(rows)))
    found = iter(zip(finding.rows.T.tolist(), finding.activations.T.tolist(), finding.places.T.tolist()))
    made: dict[int, dict[str, list[Cutout]]] = {}
    for label, some in chosen.items():
        made[label] = {}
        for number, weight in some:
            made[label][f"prototype {number}\nweight {weight:.2f}"] = [
                _cutout(trial, shown[row].spectrogram, row, activation, place, finding.cells, trial.task.classes[label])
                for row, activation, place in zip(*next(found))
            ]
    return made


def _cutout(
    trial: Trial, spectrogram: Tensor, row: int, activation: float, place: int, cells: tuple[int, int], wanted: str
) -> Cutout:
    labels = trial.labels(row)
    title = f"{(', '.join(labels) or 'no label')[:28]}\n{trial.name(row)[:24]}: {activation:.2f}"
    return Cutout(spectrogram, box_of(place, cells, trial.grid, trial.patch), title, wanted not in labels)


class Case(NamedTuple):
    """A judged row, by number in the task, the class that its probe is surest of, and whether the row has it."""

    row: int
    label: int
    probability: float
    right: bool


def clear_cases(trial: Trial) -> list[Case]:
    """The judged rows of which the probe is surest: one where it is right, and one where it is wrong."""
    best = as_probabilities(trial.logits.double(), trial.task.single_label).max(1)
    targets = trial.task.targets[trial.part.test]
    right = targets == best.indices if trial.task.single_label else targets.gather(1, best.indices[:, None])[:, 0] > 0
    cases = []
    for verdict in (True, False):
        places = (right == verdict).nonzero().flatten()
        if len(places):
            place = places[best.values[places].argmax()]
            row, label = trial.part.test[place].item(), best.indices[place].item()
            cases.append(Case(int(row), int(label), best.values[place].item(), verdict))
    return cases


def explain(trial: Trial, case: Case) -> tuple[Picture, Account] | None:
    """The clip's picture and its logit as a sum; None where the probe's logits are no such sums."""
    opened = open_prototypes(trial.probe)
    if opened is None and not (has_patch_terms(trial.probe) and isinstance(trial.probe, LinearProbe)):
        return None
    if opened is not None:
        account = by_prototypes(trial, opened, case)
    else:
        assert isinstance(trial.probe, LinearProbe)
        account = by_patches(trial, trial.probe, case)
    return trial.pictures([case.row])[0], account


def by_prototypes(trial: Trial, opened: Prototypes, case: Case) -> Account:
    """The summands that count most, either way, on their own; all others together."""
    prepared = trial.probe.prepare(trial.features.take(torch.tensor([case.row])))
    terms = prototype_terms(opened, prepared, case.label)
    values, places = terms.values.flatten(), terms.found.places[0].flatten()
    activations, kinds = terms.found.activations[0].flatten(), KINDS[terms.values.shape[1]]
    order = values.abs().argsort(descending=True)
    bars = [("constant", terms.constant)]
    boxes: dict[Box, str] = {}
    for mark, index in enumerate(order[:NAMED].tolist(), start=1):
        number = terms.prototypes[index // len(kinds)].item()
        bars.append(
            (f"{mark}: prototype {number}{kinds[index % len(kinds)]} ({activations[index]:.2f})", values[index].item())
        )
        if places[index] != NOWHERE:
            box = box_of(int(places[index]), terms.found.cells, trial.grid, trial.patch)
            boxes[box] = f"{boxes[box]}, {mark}" if box in boxes else str(mark)
    rest = order[NAMED:]
    for kind, name in enumerate(kinds):
        others = rest[rest % len(kinds) == kind]
        if len(others):
            bars.append((f"{len(others)} others{name}", values[others].sum().item()))
    somewhere = places != NOWHERE
    heat = torch.zeros(terms.found.cells, dtype=values.dtype)
    heat.view(-1).index_add_(0, places[somewhere], values[somewhere])
    return Account(bars, heat, boxes)


def by_patches(trial: Trial, probe: LinearProbe, case: Case) -> Account:
    """What the patches add, by layer where the probe reads several, else by band; or what each layer's CLS adds."""
    needs = Needs(probe.layers, (Selection.CLS, Selection.PATCHES))
    encoder, clips = trial.encoder, trial.clips([case.row])
    with evaluating(encoder), torch.inference_mode():
        clip = needs.take(encoder.features(encoder.prepare_clips([clips[0]], clips.samples), needs.layers)).to("cpu")
    terms = patch_terms(probe, Features(*(tensor.clone() for tensor in clip)), typical_clip(trial), case.label)
    layers, bands = terms.values.sum((1, 2)).tolist(), terms.values.sum((0, 1)).tolist()
    if len(layers) > 1 or probe.pool == Selection.CLS:
        bars = [
            (f"layer {layer if len(layers) > 1 else trial.encoder.depth - 1}", value)
            for layer, value in enumerate(layers)
        ]
    else:
        edges = [trial.ruler.hertz(band * trial.patch[1]) / 1000 for band in range(len(bands) + 1)]
        bars = [(f"{low:.1f} to {high:.1f} kHz", value) for low, high, value in zip(edges, edges[1:], bands)]
    return Account(
        [("constant", terms.constant), *bars], None if probe.pool == Selection.CLS else terms.values.sum(0), {}
    )


def typical_clip(trial: Trial) -> Features:
    """The mean of the features that the part learnt from, as one clip."""
    total = None
    for batch in trial.part.train.split(64):
        taken = trial.probe.needs.take(trial.features.take(batch))
        sums = [tensor.double().sum(dim, keepdim=True) for tensor, dim in zip(taken, (1, 1, 0))]
        total = sums if total is None else [total[part] + sums[part] for part in range(3)]
    assert total is not None
    return Features(*(tensor / len(trial.part.train) for tensor in total))
