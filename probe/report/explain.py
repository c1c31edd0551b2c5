"""What a fitted probe's prototypes look at, and what each adds to a logit, which is the sum of it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import linear, normalize

from oscine.models.encoders.base.features import Features, Selection
from oscine.probe.fit.judge import FeatureSource
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.protobin import ProtofloatProbe
from oscine.probe.heads.prototypical import EPSILON, HEADROOM, PrototypicalProbe, extended, unit

BATCH = 16  # clips whose features of all layers and patches are held at once
GREATEST, NOWHERE = -1, -1  # the last kind of activation of every probe; the place of what is of no single patch


class Found(NamedTuple):
    """What prototypes find in clips.

    activations  [batch, prototype, kind], of which logits are weighted sums
    places       [batch, prototype, kind], the cells where they were found, counted time-major
    cells        how many (time, freq)
    """

    activations: Tensor
    places: Tensor
    cells: tuple[int, int]


@dataclass(frozen=True)
class Prototypes:
    """A fitted probe's prototypes, laid open.

    vectors     [prototype, width], as they are compared
    bias        [class]
    own         a class to the prototypes that speak of it, [own], and their weights, [own, kind]
    cells       prepared features to what is compared, [batch, time, freq, width]
    middle      prepared features to the vectors whose similarity is the second of three kinds, between least and greatest;
                None where greatest is the only kind
    activation  of a similarity
    """

    vectors: Tensor
    bias: Tensor
    own: Callable[[int], tuple[Tensor, Tensor]]
    cells: Callable[[Features], Tensor]
    middle: Callable[[Features], Tensor] | None = None
    activation: Callable[[Tensor], Tensor] = lambda similarity: similarity

    def find(self, prepared: Features, prototypes: Tensor) -> Found:
        """What some prototypes, by number, find in clips. Takes memory for all similarities of these: batch by batch."""
        cells, vectors = self.cells(prepared), self.vectors[prototypes]
        similarity = linear(cells.flatten(1, 2), vectors)  # [batch, place, prototype]
        values, places = (torch.stack([found]) for found in similarity.max(1))
        if self.middle is not None:
            least, middle = similarity.min(1), linear(self.middle(prepared), vectors)
            values = torch.stack([least.values, middle, values[0]])
            places = torch.stack([least.indices, torch.full_like(places[0], NOWHERE), places[0]])
        values, places = (
            rearrange(found, "kind batch prototype -> batch prototype kind") for found in (values, places)
        )
        return Found(self.activation(values), places, (cells.shape[1], cells.shape[2]))


def open_prototypical(probe: PrototypicalProbe) -> Prototypes:
    each = probe.last_layer.weight.shape[1]
    numbers = torch.arange(len(probe.prototype_vectors))
    return Prototypes(
        unit(extended(probe.prototype_vectors.flatten(1)), EPSILON),
        probe.last_layer.bias,
        own=lambda label: (numbers[label * each :][:each], probe.last_layer.weight[label, :, None].relu()),
        cells=lambda prepared: unit(probe.upsample(extended(prepared.patches[-1]))),
        activation=lambda similarity: similarity.relu() / HEADROOM,
    )


def open_shared(probe: ProtofloatProbe) -> Prototypes:
    vectors = normalize(probe.vectors(), dim=1)
    numbers = torch.arange(len(vectors))
    return Prototypes(
        vectors,
        probe.fc.bias,
        own=lambda label: (numbers, probe.fc.weight[label, :, None]),
        cells=lambda prepared: prepared.patches[-1],
    )


def open_gated(probe: ConvexGatedProbe) -> Prototypes:
    vectors = normalize(probe.prototype_vectors.flatten(1), dim=1)
    numbers = torch.arange(len(vectors))

    def middle(prepared: Features) -> Tensor:
        return probe.mix(prepared.cls) if probe.pool == Selection.CLS else probe.mix(prepared.patches).mean((1, 2))

    return Prototypes(
        vectors,
        probe.fc.bias,
        own=lambda label: (numbers, rearrange(probe.fc.weight[label], "(prototype kind) -> prototype kind", kind=3)),
        cells=lambda prepared: probe.mix(prepared.patches),
        middle=middle,
    )


OPENED: dict[type[Probe], Callable[..., Prototypes]] = {
    PrototypicalProbe: open_prototypical,
    ProtofloatProbe: open_shared,
    ConvexGatedProbe: open_gated,
}


def open_prototypes(probe: Probe) -> Prototypes | None:
    """The prototypes of a fitted clip-wise probe; None if it has none, or compares them with what lies nowhere."""
    if getattr(probe, "authors_reshape", False):
        return None  # what it blends are no neighbours
    return next((lay_open(probe) for kind, lay_open in OPENED.items() if isinstance(probe, kind)), None)


class Terms(NamedTuple):
    """The logit of a class for a clip: `constant` plus all `values`, which are [prototype, kind] as `found` has them."""

    constant: float
    values: Tensor
    prototypes: Tensor
    found: Found


@torch.no_grad()
def prototype_terms(opened: Prototypes, prepared: Features, label: int) -> Terms:
    """What every prototype adds to a class's logit: its weight times its activation. prepared: features of one clip."""
    numbers, weights = opened.own(label)
    found = opened.find(prepared, numbers)
    return Terms(opened.bias[label].item(), weights.double() * found.activations[0].double(), numbers, found)


class Finding(NamedTuple):
    """What excites some prototypes most, [rank, prototype]: rows by number, activations, places among (time, freq) cells."""

    rows: Tensor
    activations: Tensor
    places: Tensor
    cells: tuple[int, int]


@torch.no_grad()
def strongest(
    probe: Probe, opened: Prototypes, features: FeatureSource, rows: Tensor, prototypes: Tensor, most: int
) -> Finding:
    """The rows, of those given, that some prototypes find most of themselves in, the strongest first."""
    founds = [opened.find(probe.prepare(features.take(batch)), prototypes) for batch in rows.split(BATCH)]
    activations = torch.cat([found.activations[..., GREATEST] for found in founds])
    best = activations.topk(min(most, len(rows)), dim=0)
    places = torch.cat([found.places[..., GREATEST] for found in founds]).gather(0, best.indices)
    return Finding(rows[best.indices], best.values, places, founds[0].cells)
