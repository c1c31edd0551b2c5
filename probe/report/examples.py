"""Pick the recordings that explain a probe's scores: those that fit its prototypes best, and single clips as sums."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.eval_mode import evaluating
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.encoders.frontends.mel import MelScale, Picture
from oscine.probe.fit.judge import FeatureSource, Judgement
from oscine.probe.heads.linear import VectorProbe
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.heads.similarity import NOWHERE, PrototypeProbe
from oscine.probe.metrics.decisions import as_probabilities
from oscine.probe.report.cutouts import Box, Cutout, LogitBreakdown, box_of
from oscine.probe.report.explain import (
    GREATEST,
    as_prototype_probe,
    has_patch_terms,
    patch_terms,
    prototype_terms,
    top_activations,
)
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import LabelledClips, Part, Task

KINDS = {1: ("",), 3: (", least", ", middle", ", greatest")}  # of activation, by how many a prototype has
NAMED = 8  # summands that have a bar of their own


@dataclass(frozen=True)
class Judged:
    """A judgement and what it was made of; pictures and sums are of its first part.

    features: of the whole task, as the probes need them. seconds: length of a clip, if not the encoder's.
    """

    encoder: Encoder
    task: Task
    judgement: Judgement
    features: FeatureSource
    seconds: float | None = None

    @property
    def part(self) -> Part:
        return self.task.parts[0]

    @property
    def logits(self) -> Tensor:  # [rows, classes]
        """The logits of the rows that the part is judged on."""
        return self.judgement.logits[0]

    @cached_property
    def probe(self) -> Probe:
        """A copy of the part's probe, on the CPU."""
        return copy.deepcopy(self.judgement.probes[0]).cpu()

    def pictures(self, rows: Sequence[int]) -> list[Picture]:
        return pictures(self.encoder, self.task.rows.iloc[list(rows)], self.seconds)

    @cached_property
    def mel_scale(self) -> MelScale:
        """The axes of its pictures, whatever is seen in them."""
        return self.encoder.picture(torch.zeros(self.encoder.samples)).mel_scale

    @property
    def grid(self) -> tuple[int, int]:
        """The (time, freq) patches of a clip."""
        samples = round((self.seconds or self.encoder.seconds) * self.encoder.sample_rate)
        return self.encoder.steps(samples), self.encoder.grid[1]

    @property
    def patch(self) -> tuple[float, float]:
        """The frames and mel bands of a picture that a patch covers."""
        return self.encoder.step_seconds / self.mel_scale.frame_seconds, self.mel_scale.bands / self.encoder.grid[1]

    def labels(self, row: int) -> list[str]:
        return self.task.rows["labels"].iloc[row]

    def name(self, row: int) -> str:
        """Name a row: its file, and where in it the row begins."""
        return Path(self.task.rows["path"].iloc[row]).stem + start_of(self.task, row)


def start_of(task: Task, row: int) -> str:
    """Say where in its file a row begins; "" at the file's start."""
    start = task.rows["start"].iloc[row] if "start" in task.rows else 0.0
    return f" @ {start:g} s" if start > 0 else ""


def pictures(encoder: Encoder, rows: DataFrame, seconds: float | None = None) -> list[Picture]:
    """Make the spectrograms of some rows. seconds: length of a clip, if not the encoder's."""
    clips = clips_of(encoder, rows, seconds)
    with evaluating(encoder), torch.inference_mode():
        return [encoder.picture(clips[row], clips.samples) for row in range(len(clips))]


def clips_of(encoder: Encoder, rows: DataFrame, seconds: float | None) -> LabelledClips:
    return LabelledClips(rows, encoder.sample_rate, seconds or encoder.seconds)


def prototype_cutouts(
    judged: Judged, probe: PrototypeProbe, classes: Sequence[int], *, prototypes: int = 3, clips: int = 3
) -> dict[int, dict[str, list[Cutout]]]:
    """Cut out, for each class, the judged clips that excite the prototypes with the greatest weights most.

    The cut-outs of a class are by the names of its prototypes.
    """
    chosen: dict[tuple[int, int], float] = {}  # class and prototype to weight
    for label in classes:
        numbers, weights = probe.prototypes_of(label)
        best = weights[:, GREATEST].detach().topk(min(prototypes, len(numbers)))
        chosen |= {
            (label, number): weight for number, weight in zip(numbers[best.indices].tolist(), best.values.tolist())
        }
    columns = torch.tensor([number for _, number in chosen])
    found = top_activations(probe, judged.features, rows=judged.part.test, prototypes=columns, most=clips)
    rows = found.rows.unique().tolist()
    shown = dict(zip(rows, judged.pictures(rows)))
    made: dict[int, dict[str, list[Cutout]]] = {label: {} for label in classes}
    for column, ((label, number), weight) in enumerate(chosen.items()):
        cutouts = []
        for rank, row in enumerate(found.rows[:, column].tolist()):
            labels = judged.labels(row)
            activation = found.activations[rank, column].item()
            box = box_of(int(found.places[rank, column]), found.grid, judged.grid, judged.patch)
            title = f"{(', '.join(labels) or 'no label')[:28]}\n{judged.name(row)[:24]}: {activation:.2f}"
            cutouts.append(Cutout(shown[row].spectrogram, box, title, judged.task.classes[label] not in labels))
        made[label][f"prototype {number}\nweight {weight:.2f}"] = cutouts
    return made


class Example(NamedTuple):
    """A judged row, by number in the task, the class that its probe is surest of, and whether the row has it."""

    row: int
    label: int
    probability: float
    right: bool


def confident_examples(judged: Judged) -> list[Example]:
    """Pick the judged rows of which the probe is surest: one where it is right, and one where it is wrong."""
    single, targets = judged.task.kind is TaskKind.SINGLE, judged.task.targets[judged.part.test]
    best = as_probabilities(judged.logits.double(), judged.task.kind).max(1)
    right = targets == best.indices if single else targets.gather(1, best.indices[:, None])[:, 0] > 0
    examples = []
    for verdict in (True, False):
        places = (right == verdict).nonzero().flatten()
        if len(places):
            place = places[best.values[places].argmax()]
            row, label = judged.part.test[place].item(), best.indices[place].item()
            examples.append(Example(int(row), int(label), best.values[place].item(), verdict))
    return examples


def explain(judged: Judged, example: Example) -> tuple[Picture, LogitBreakdown] | None:
    """Return the clip's picture and its logit as a sum; None where the probe's logits are no such sums."""
    if probe := as_prototype_probe(judged.probe):
        breakdown = by_prototypes(judged, probe, example)
    elif has_patch_terms(judged.probe):
        breakdown = by_patches(judged, judged.probe, example)
    else:
        return None
    return judged.pictures([example.row])[0], breakdown


def by_prototypes(judged: Judged, probe: PrototypeProbe, example: Example) -> LogitBreakdown:
    """Show the summands that count most, either way, on their own; all others together."""
    prepared = probe.prepare(judged.features.take(torch.tensor([example.row])))
    terms = prototype_terms(probe, prepared, example.label)
    values, places = terms.values.flatten(), terms.found.places[0].flatten()
    activations, kinds = terms.found.values[0].flatten(), KINDS[probe.kinds]
    order = values.abs().argsort(descending=True)
    bars = [("constant", terms.constant)]
    boxes: dict[Box, str] = {}
    for mark, index in enumerate(order[:NAMED].tolist(), start=1):
        number = terms.prototypes[index // len(kinds)].item()
        bars.append(
            (f"{mark}: prototype {number}{kinds[index % len(kinds)]} ({activations[index]:.2f})", values[index].item())
        )
        if places[index] != NOWHERE:
            box = box_of(int(places[index]), terms.found.grid, judged.grid, judged.patch)
            boxes[box] = f"{boxes[box]}, {mark}" if box in boxes else str(mark)
    rest = order[NAMED:]
    for kind, name in enumerate(kinds):
        others = rest[rest % len(kinds) == kind]
        if len(others):
            bars.append((f"{len(others)} others{name}", values[others].sum().item()))
    somewhere = places != NOWHERE
    heat = torch.zeros(terms.found.grid, dtype=values.dtype)
    heat.view(-1).index_add_(0, places[somewhere], values[somewhere])
    return LogitBreakdown(bars, heat, boxes)


def by_patches(judged: Judged, probe: VectorProbe, example: Example) -> LogitBreakdown:
    """Show what the patches add, by layer where the probe reads several, else by band; or what each layer's CLS adds."""
    needs = Needs(probe.layers, (Selection.CLS, Selection.PATCHES))
    encoder = judged.encoder
    clips = clips_of(encoder, judged.task.rows.iloc[[example.row]], judged.seconds)
    with evaluating(encoder), torch.inference_mode():
        clip = needs.take(encoder.features(encoder.prepare_clips([clips[0]], clips.samples), needs.layers)).to("cpu")
    terms = patch_terms(probe, Features(*(tensor.clone() for tensor in clip)), mean_clip(judged), example.label)
    layers, bands = terms.values.sum((1, 2)).tolist(), terms.values.sum((0, 1)).tolist()
    if len(layers) > 1 or probe.pool == Selection.CLS:
        first = 0 if len(layers) > 1 else encoder.layer_numbers(probe.layers)[0]
        bars = [(f"layer {layer}", value) for layer, value in enumerate(layers, start=first)]
    else:
        edges = [judged.mel_scale.hertz(band * judged.patch[1]) / 1000 for band in range(len(bands) + 1)]
        bars = [(f"{low:.1f} to {high:.1f} kHz", value) for low, high, value in zip(edges, edges[1:], bands)]
    return LogitBreakdown(
        [("constant", terms.constant), *bars], None if probe.pool == Selection.CLS else terms.values.sum(0), {}
    )


def mean_clip(judged: Judged) -> Features:
    """Average the features that the part learnt from, as one clip."""
    total = None
    for batch in judged.part.train.split(64):
        taken = judged.probe.needs.take(judged.features.take(batch))
        sums = [tensor.double().sum(dim, keepdim=True) for tensor, dim in zip(taken, (1, 1, 0))]
        total = sums if total is None else [total[part] + sums[part] for part in range(3)]
    assert total is not None
    return Features(*(tensor / len(judged.part.train) for tensor in total))
