"""What is said to make up a logit does so, and what a prototype is said to look at is what was planted for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import Head2ToeProbe, LayerGatedProbe, LinearProbe, MLPProbe, VectorProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.protobin import ProtobinProbe, ProtofloatProbe
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.heads.similarity import NOWHERE, PrototypeProbe
from oscine.probe.report.cutouts import box_of
from oscine.probe.report.explain import (
    as_prototype_probe,
    has_patch_terms,
    patch_terms,
    prototype_terms,
    top_activations,
)

DIM, DEPTH, GRID, CLASSES = 12, 3, (5, 8), 4
ENCODER = cast(Encoder, SimpleNamespace(dim=DIM, depth=DEPTH, heads=4, grid=GRID, stacked=True, spatial=True))
PROTOTYPICAL: dict[str, tuple[type[Probe], dict[str, Any]]] = {
    "bound to classes": (PrototypicalProbe, {"prototypes_per_class": 3}),
    "bound to classes, not focal": (PrototypicalProbe, {"prototypes_per_class": 3, "focal": False}),
    "floats": (ProtofloatProbe, {"prototypes": 30}),
    "one bit": (ProtobinProbe, {"prototypes": 30}),
    "gated": (ConvexGatedProbe, {"prototypes": 30}),
    "gated, mean": (ConvexGatedProbe, {"prototypes": 30, "pool": "mean"}),
}
LINEAR: dict[str, type[VectorProbe]] = {
    "linear": LinearProbe,
    "layer gated": LayerGatedProbe,
    "Head2Toe": Head2ToeProbe,
}


def made(kind: type[Probe], **settings: Any) -> Probe:
    """With every parameter off its initial value, as after a fit."""
    torch.manual_seed(0)
    probe = kind(ENCODER, CLASSES, **settings).eval()
    for parameter in probe.parameters():
        nn.init.normal_(parameter)
    for module in probe.modules():
        if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return probe


def drawn(clips: int, seed: int = 0) -> Features:
    draw = torch.Generator().manual_seed(seed)
    patches = 0.3 + torch.randn(DEPTH, clips, *GRID, DIM, generator=draw)
    return Features(torch.randn(DEPTH, clips, DIM, generator=draw), patches, torch.randn(clips, DIM, generator=draw))


def opened(probe: Probe) -> PrototypeProbe:
    found = as_prototype_probe(probe)
    assert found is not None
    return found


@torch.no_grad()
def logits(probe: Probe, features: Features) -> Tensor:
    return probe.logits(probe.prepare(features))


@pytest.mark.parametrize("name", PROTOTYPICAL)
def test_what_prototypes_add_comes_to_the_logit(name: str) -> None:
    kind, settings = PROTOTYPICAL[name]
    probe, features = made(kind, **settings), drawn(3)
    expected = logits(probe, features)
    said = 0.0
    for clip in range(3):
        prepared = probe.prepare(features.take(slice(clip, clip + 1)))
        for label in range(CLASSES):
            terms = prototype_terms(opened(probe), prepared, label)
            assert terms.constant + terms.values.sum().item() == pytest.approx(expected[clip, label].item(), abs=1e-4)
            said += terms.values.abs().sum().item()
    assert said > 1


@pytest.mark.parametrize("name", PROTOTYPICAL)
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (4, 7), (0, 7)])
def test_a_prototype_is_found_in_the_patch_where_it_was_planted(name: str, place: tuple[int, int]) -> None:
    kind, settings = PROTOTYPICAL[name]
    probe, features = made(kind, **settings), drawn(6)
    row, (time, freq), number = 4, place, 5
    # What the probe compares, in any layer and relative to CLS, is there the prototype itself.
    vector = cast(Any, probe).prototype_vectors[number].flatten().detach()
    if isinstance(probe, ProtobinProbe):
        vector = vector.sign()
    planted = 10 * vector + (features.cls[:, row] if getattr(probe, "focal", False) else 0)
    features.patches[:, row, time, freq] = planted
    found = top_activations(opened(probe), features, rows=torch.arange(6), prototypes=torch.tensor([number, 0]), most=2)
    assert found.rows[0, 0] == row
    assert found.activations[0, 0] > found.activations[1, 0]
    box = box_of(int(found.places[0, 0]), found.grid, GRID, (16.0, 16.0))
    assert box == (16 * time, 16 * freq, 16 * time + 16, 16 * freq + 16)


def test_only_judged_rows_are_shown_and_by_their_own_numbers() -> None:
    probe, features = made(ProtofloatProbe, prototypes=30), drawn(9)
    rows = torch.tensor([7, 2, 5])
    found = top_activations(opened(probe), features, rows=rows, prototypes=torch.tensor([3]), most=9)
    assert sorted(found.rows[:, 0].tolist()) == [2, 5, 7]
    for rank, row in enumerate(found.rows[:, 0].tolist()):
        alone = opened(probe).activate(probe.prepare(features.take(slice(row, row + 1))), torch.tensor([3]))
        assert alone.values.item() == pytest.approx(found.activations[rank, 0].item())
    assert found.activations[:, 0].diff().max() <= 0


def test_the_middle_activation_of_a_gated_probe_is_of_no_patch() -> None:
    probe = made(ConvexGatedProbe, prototypes=30)
    terms = prototype_terms(opened(probe), probe.prepare(drawn(1)), 0)
    assert terms.values.shape == (30, 3)
    assert (terms.found.places[..., 1] == NOWHERE).all()
    assert (terms.found.places[..., ::2] >= 0).all()
    assert (terms.found.values[..., 0] <= terms.found.values[..., 2]).all()


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("pool", ["cls", "mean", "bands"])
@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_what_patches_add_is_what_the_logit_loses_without_them(kind: str, pool: str, norm: str) -> None:
    """Each patch in turn becomes what a typical clip has there; the norm's scale, which that moves, is held fast."""
    probe = made(LINEAR[kind], pool=pool, norm=norm)
    assert isinstance(probe, VectorProbe)
    assert has_patch_terms(probe)
    layers = DEPTH if probe.layers is None else 1
    clip, typical = (
        one._replace(cls=one.cls[-layers:], patches=one.patches[-layers:]) for one in (drawn(1), drawn(1, 1))
    )
    typical = typical._replace(patches=typical.patches.mean((2,), keepdim=True))
    norm_layer = cast(Any, probe.ln)
    read = probe.join(clip.select(pool))
    variance = read.var(unbiased=False).item()

    def logit(features: Features) -> float:
        vector = probe.join(features.select(pool))
        if norm == "layer":
            centred = vector - vector.mean()
            vector = centred / (variance + norm_layer.eps) ** 0.5 * norm_layer.weight + norm_layer.bias
        else:
            vector = probe.ln(vector)
        return probe.fc(vector)[0, 2].item()

    terms = patch_terms(probe, clip, typical, label=2)
    everywhere = typical._replace(patches=typical.patches.expand_as(clip.patches))
    whole = probe.logits(clip)[0, 2].item()
    assert logit(clip) == pytest.approx(whole, abs=1e-4)
    assert terms.constant + terms.values.sum().item() == pytest.approx(whole, abs=1e-5)
    assert terms.constant == pytest.approx(logit(everywhere), abs=1e-4)
    assert terms.values.shape == ((layers, 1, 1) if pool == "cls" else (layers, *GRID))
    for layer in range(layers):
        without = Features(*(tensor.clone() for tensor in clip))
        if pool == "cls":
            without.cls[layer] = typical.cls[layer]
            lost = terms.values[layer]
        else:
            without.patches[layer, :, 1, 3] = everywhere.patches[layer, :, 1, 3]
            lost = terms.values[layer, 1, 3]
        assert logit(clip) - logit(without) == pytest.approx(lost.item(), abs=1e-4)
    assert terms.values.abs().max() > 0.01


def test_a_probe_whose_logits_are_no_such_sum_is_not_explained() -> None:
    for probe in (
        AttentiveProbe(ENCODER, CLASSES),
        MLPProbe(ENCODER, CLASSES),
        LinearProbe(ENCODER, CLASSES, "pooled"),
    ):
        assert as_prototype_probe(probe) is None
        assert not has_patch_terms(probe)
    assert as_prototype_probe(PrototypicalProbe(ENCODER, CLASSES, authors_reshape=True)) is None
