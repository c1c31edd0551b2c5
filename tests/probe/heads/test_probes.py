from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import one_hot

from oscine.cli.probe import probe as command
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.errors import OscineError
from oscine.probe.heads.attentive import (
    AttentiveProbe,
    EfficientProbe,
    GatedAttentionProbe,
    MultiLayerAttentionProbe,
    SimPoolProbe,
)
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import Head2ToeProbe, LayerGatedProbe, LinearProbe, MLPProbe
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.heads.protobin import ProtobinProbe, ProtofloatProbe
from oscine.probe.heads.prototypical import PrototypicalProbe

DIM, DEPTH, HEADS, GRID = 16, 3, 4, (6, 8)
BATCH, CLASSES = 4, 5

PROBES: dict[str, tuple[Callable[..., Probe], dict[str, Any]]] = {
    "linear cls": (LinearProbe, {"pool": "cls"}),
    "linear mean": (LinearProbe, {"pool": "mean"}),
    "linear frames": (LinearProbe, {"pool": "frames"}),
    "linear frames, bands": (LinearProbe, {"pool": "frame_bands", "norm": "batch"}),
    "linear bands": (LinearProbe, {"pool": "bands", "norm": "batch"}),
    "linear pooled": (LinearProbe, {"pool": "pooled", "norm": "none"}),
    "mlp": (MLPProbe, {"hidden": 6}),
    "mlp frames": (MLPProbe, {"pool": "frames", "norm": "layer", "hidden": 6}),
    "layer gated": (LayerGatedProbe, {}),
    "layer gated mean": (LayerGatedProbe, {"pool": "mean"}),
    "layer gated frames": (LayerGatedProbe, {"pool": "frames"}),
    "layer gated bands": (LayerGatedProbe, {"pool": "bands", "norm": "batch"}),
    "layer gated of layer 1": (LayerGatedProbe, {"layer": 1}),
    "head2toe": (Head2ToeProbe, {}),
    "head2toe of layer 0": (Head2ToeProbe, {"layer": 0}),
    "head2toe mean": (Head2ToeProbe, {"pool": "mean"}),
    "head2toe frames": (Head2ToeProbe, {"pool": "frames"}),
    "head2toe bands": (Head2ToeProbe, {"pool": "bands"}),
    "attentive": (AttentiveProbe, {}),
    "attentive frames": (AttentiveProbe, {"pool": "frames"}),
    "attentive of layer 0": (AttentiveProbe, {"layer": 0}),
    "multi-layer attention": (MultiLayerAttentionProbe, {}),
    "multi-layer attention of layer 1": (MultiLayerAttentionProbe, {"layer": 1}),
    "multi-layer attention frames": (MultiLayerAttentionProbe, {"pool": "frames"}),
    "efficient": (EfficientProbe, {"queries": 4}),
    "efficient frames": (EfficientProbe, {"pool": "frames", "queries": 4}),
    "simpool": (SimPoolProbe, {}),
    "simpool frames": (SimPoolProbe, {"pool": "frames"}),
    "gated attention": (GatedAttentionProbe, {}),
    "gated attention, ungated": (GatedAttentionProbe, {"gated": False}),
    "gated attention frames": (GatedAttentionProbe, {"pool": "frames"}),
    "protofloat": (ProtofloatProbe, {"prototypes": 7}),
    "protofloat frames": (ProtofloatProbe, {"pool": "frames", "prototypes": 7}),
    "protofloat of layer 0": (ProtofloatProbe, {"prototypes": 7, "layer": 0}),
    "protobin": (ProtobinProbe, {"prototypes": 7}),
    "protobin frames": (ProtobinProbe, {"pool": "frames", "prototypes": 7}),
    "prototypical": (PrototypicalProbe, {"prototypes_per_class": 3}),
    "prototypical of layer 0": (PrototypicalProbe, {"prototypes_per_class": 3, "layer": 0}),
    "prototypical, plain": (PrototypicalProbe, {"prototypes_per_class": 3, "focal": False}),
    "prototypical, reshaped": (PrototypicalProbe, {"prototypes_per_class": 3, "authors_reshape": True}),
    "convex gated cls": (ConvexGatedProbe, {"pool": "cls", "prototypes": 7}),
    "convex gated of layer 0": (ConvexGatedProbe, {"prototypes": 7, "layer": 0}),
    "convex gated mean": (ConvexGatedProbe, {"pool": "mean", "prototypes": 7}),
    "convex gated frames": (ConvexGatedProbe, {"pool": "frames", "prototypes": 7}),
}
every_probe = pytest.mark.parametrize("name", PROBES)
Encoders = dict[str, Callable[[], Encoder]]
ENCODERS: Encoders = {
    "chunks": lambda: BAT(dim=DIM, depth=DEPTH, heads=HEADS, seconds=0.5),
    "one clip": lambda: BirdMAE(dim=DIM, depth=DEPTH, heads=HEADS, seconds=0.5),
}


def sizes(dim: int = DIM, depth: int = DEPTH, heads: int = HEADS, grid: tuple[int, int] = GRID) -> Encoder:
    """Stands for an encoder where only its sizes matter."""
    return cast(Encoder, SimpleNamespace(dim=dim, depth=depth, heads=heads, grid=grid, stacked=True, spatial=True))


def make(name: str, encoder: Encoder | None = None) -> Probe:
    kind, settings = PROBES[name]
    torch.manual_seed(0)
    return kind(encoder or sizes(), CLASSES, **settings).eval()


def features(batch: int = BATCH, depth: int = DEPTH, seed: int = 0, grid: tuple[int, int] = GRID) -> Features:
    draw = torch.Generator().manual_seed(seed)
    return Features(
        cls=torch.randn(depth, batch, DIM, generator=draw),
        patches=torch.randn(depth, batch, *grid, DIM, generator=draw),
        pooled=torch.randn(batch, DIM, generator=draw),
    )


def test_every_probe_of_the_command_is_tested() -> None:
    assert {kind for kind, _ in PROBES.values()} == set(command.PROBES.values())


@every_probe
@pytest.mark.parametrize("grid", [GRID, (5, 3), (1, 8), (4, 1)])
def test_logits_are_one_row_a_clip_or_a_time_step(name: str, grid: tuple[int, int]) -> None:
    expected = (BATCH, grid[0], CLASSES) if "frames" in name else (BATCH, CLASSES)
    assert make(name, sizes(grid=grid))(features(grid=grid)).shape == expected


@every_probe
@torch.no_grad()
def test_a_clip_does_not_depend_on_its_batch(name: str) -> None:
    probe, clips = make(name), features()
    alone = torch.cat([probe(clips.take(slice(clip, clip + 1))) for clip in range(BATCH)])
    torch.testing.assert_close(probe(clips), alone, atol=1e-6, rtol=1e-5)


@every_probe
@torch.no_grad()
def test_a_probe_reads_no_more_than_it_needs(name: str) -> None:
    probe, clips = make(name), features()
    needed = probe.needs.take(clips)
    torch.testing.assert_close(probe(needed), probe(clips), atol=1e-6, rtol=1e-5)
    again = probe.needs.take(needed)
    assert [part.shape for part in again] == [part.shape for part in needed]
    # What is not needed may be anything.
    other = features(seed=1)
    mixed = Features(*(mine if mine.numel() else theirs for mine, theirs in zip(needed, other, strict=True)))
    torch.testing.assert_close(probe(mixed), probe(clips), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("linear cls", DIM),
        ("linear mean", DIM),
        ("linear frames", GRID[0] * DIM),
        ("linear bands", GRID[1] * DIM),
        ("linear frames, bands", GRID[0] * GRID[1] * DIM),
        ("linear pooled", DIM),
        ("mlp", DIM),
        ("layer gated", DEPTH * DIM),
        ("layer gated mean", DEPTH * DIM),
        ("layer gated frames", DEPTH * GRID[0] * DIM),
        ("head2toe bands", DEPTH * GRID[1] * DIM),
        ("attentive", GRID[0] * GRID[1] * DIM),
        ("protobin frames", GRID[0] * GRID[1] * DIM),
        ("prototypical", (1 + GRID[0] * GRID[1]) * DIM),
        ("convex gated cls", DEPTH * (1 + GRID[0] * GRID[1]) * DIM),
        ("convex gated mean", DEPTH * GRID[0] * GRID[1] * DIM),
    ],
)
def test_what_a_probe_needs_is_as_small_as_it_can_be(name: str, numbers: int) -> None:
    assert sum(part.numel() for part in make(name).needs.take(features())) == BATCH * numbers


def test_needs_together_are_met_by_the_finest_part() -> None:
    shared = Needs(layers=[-1], parts=("mean", "frames", "cls")).take(features())
    for name in ("linear mean", "linear frames", "linear cls"):
        torch.testing.assert_close(make(name)(shared), make(name)(features()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["linear mean", "linear frames", "linear bands"])
def test_frames_and_bands_together_keep_all_patches(name: str) -> None:
    shared = Needs(layers=[-1], parts=("bands", "frames")).take(features())
    torch.testing.assert_close(make(name)(shared), make(name)(features()), atol=1e-6, rtol=1e-5)


@every_probe
@pytest.mark.parametrize("kind", ENCODERS)
@torch.no_grad()
def test_a_probe_reads_an_encoder_that_returns_only_the_needed_layers(name: str, kind: str) -> None:
    encoder = ENCODERS[kind]().eval()
    probe = make(name, encoder)
    waveform = torch.randn(2, encoder.samples, generator=torch.Generator().manual_seed(0))
    few, all_layers = encoder(waveform, layers=probe.needs.layers), encoder(waveform)
    torch.testing.assert_close(probe(few), probe(all_layers), atol=1e-6, rtol=1e-5)


@every_probe
def test_a_probe_does_not_keep_its_encoder(name: str) -> None:
    encoder = BAT(dim=DIM, depth=DEPTH, heads=HEADS, seconds=0.5)
    probe, gone = make(name, encoder), weakref.ref(encoder)
    assert probe.state_dict().keys() == make(name).state_dict().keys()
    del encoder
    gc.collect()
    assert gone() is None


@every_probe
def test_every_parameter_gets_a_gradient(name: str) -> None:
    probe = make(name)
    (probe(features()).square().sum() + probe.penalty()).backward()
    for parameter, value in probe.named_parameters():
        assert value.grad is not None, parameter
        alone = parameter == "block_attention" and probe.layers_read == 1  # a softmax of one number is 1
        assert alone or value.grad.abs().sum() > 0, parameter


def groups_by_name(probe: Probe, lr: float, weight_decay: float) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in probe.named_parameters()}
    groups = probe.parameter_groups(lr, weight_decay)
    torch.optim.AdamW(groups)  # refuses a parameter that is in two groups
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


@every_probe
def test_every_parameter_is_in_a_group(name: str) -> None:
    probe = make(name)
    assert groups_by_name(probe, 1e-3, 0.05).keys() == dict(probe.named_parameters()).keys()


def test_prototypes_gate_norms_and_biases_do_not_decay() -> None:
    assert groups_by_name(make("convex gated cls"), 1e-3, 0.05) == {
        "block_attention": (1e-3, 0.0),
        "prototype_vectors": (1e-3, 0.0),
        "fc.weight": (1e-3, 0.05),
        "fc.bias": (1e-3, 0.0),
    }
    assert groups_by_name(make("linear cls"), 1e-3, 0.05) == {
        "ln.weight": (1e-3, 0.0),
        "ln.bias": (1e-3, 0.0),
        "fc.weight": (1e-3, 0.05),
        "fc.bias": (1e-3, 0.0),
    }


def test_prototypes_bound_to_classes_learn_as_in_bird_mae() -> None:
    assert groups_by_name(make("prototypical"), 3e-4, 3e-4) == {
        "prototype_vectors": (0.04, 3e-4),
        "last_layer.weight": (3e-4, 1e-4),
        "last_layer.bias": (3e-4, 1e-4),
    }


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (lambda: LinearProbe(sizes(768, 12), 527, norm="none"), 405_263),  # as the paper counts
        (lambda: LinearProbe(sizes(768, 12), 527), 405_263 + 1_536),
        (lambda: LayerGatedProbe(sizes(768, 12), 527, norm="none"), 405_275),
        (lambda: Head2ToeProbe(sizes(768, 12), 527, norm="none"), 4_857_359),
        (lambda: Head2ToeProbe(sizes(768, 12), 527), 4_857_359 + 18_432),
        (lambda: MLPProbe(sizes(1024, 24), 21), 535_573),  # 535k in the paper
        (lambda: ConvexGatedProbe(sizes(768, 12), 527), 23_490_539),
        (lambda: ProtobinProbe(sizes(768, 12), 527), 12_950_527),
        (lambda: ProtobinProbe(sizes(768, 12), 10, prototypes=200), 155_610),
        (lambda: PrototypicalProbe(sizes(1024, 24), 21), 430_521),  # as the paper counts
        (lambda: AttentiveProbe(sizes(1024, 24, 16), 21), 2 * 1024**2 + 1024 + 1025 * 21),  # 2.1 million
    ],
)
def test_a_probe_has_the_papers_number_of_parameters(probe: Callable[[], Probe], expected: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in probe().parameters()) == expected


def test_dropout_acts_in_training_alone() -> None:
    clips = features()
    for kind in (LinearProbe, MLPProbe, LayerGatedProbe, Head2ToeProbe, ConvexGatedProbe, ProtobinProbe):
        probe = kind(sizes(), CLASSES, dropout=0.5)
        assert not torch.equal(probe(clips), probe(clips))
        probe.eval()
        assert torch.equal(probe(clips), probe(clips))


@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, _ in PROBES.values()), ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_a_probe_of_a_layer_reads_that_block_alone(kind: type[Probe]) -> None:
    settings = next(own for one, own in PROBES.values() if one is kind and "layer" not in own)
    if kind is MLPProbe:
        settings = settings | {"pool": "cls"}  # pooled is of the last layer
    clips = features()
    for layer in range(DEPTH):
        torch.manual_seed(0)
        probe = kind(sizes(), CLASSES, **settings, layer=layer).eval()
        other = features(seed=1)
        cls, patches = other.cls.clone(), other.patches.clone()
        cls[layer], patches[layer] = clips.cls[layer], clips.patches[layer]
        torch.testing.assert_close(probe(Features(cls, patches, other.pooled)), probe(clips))
        alone = clips._replace(cls=clips.cls[[layer]], patches=clips.patches[[layer]])
        torch.testing.assert_close(probe(alone), probe(clips))
    with pytest.raises(OscineError, match=f"layer {DEPTH} of an encoder with {DEPTH}"):
        kind(sizes(), CLASSES, **settings, layer=DEPTH)


def test_pooled_is_of_the_last_layer_alone() -> None:
    with pytest.raises(OscineError, match="pool pooled is of the last layer, not of 0; take cls or mean, or layer -1"):
        LinearProbe(sizes(), CLASSES, pool="pooled", layer=0)
    assert LinearProbe(sizes(), CLASSES, pool="pooled", layer=DEPTH - 1)(features()).shape == (BATCH, CLASSES)


def test_features_of_some_other_number_of_layers_are_refused() -> None:
    probe = LinearProbe(sizes(depth=4), CLASSES, layer=2)
    with pytest.raises(
        OscineError, match=r"of 2 layers of 4, this probe reads \[2\]; encode with layers=\[2\], or None"
    ):
        probe(features(depth=2))


@torch.no_grad()
def test_multi_layer_attention_is_attention_in_each_layer_averaged_by_the_gate() -> None:
    probe, clips = make("multi-layer attention"), features()
    assert isinstance(probe, MultiLayerAttentionProbe)
    probe.block_attention.copy_(torch.arange(DEPTH))
    patches = clips.patches.flatten(2, 3)
    query = probe.query[:, None, None].expand(-1, BATCH, 1, -1)
    seen = nn.functional.scaled_dot_product_attention(query, patches, patches)[:, :, 0]
    mixed = torch.tensordot(torch.arange(float(DEPTH)).softmax(0), seen, dims=1)
    torch.testing.assert_close(probe(clips), probe.fc(probe.ln(mixed)), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_attentive_probe_is_multi_head_attention_of_one_query() -> None:
    probe, clips = make("attentive"), features()
    attention = nn.MultiheadAttention(DIM, HEADS, bias=False, batch_first=True)
    assert isinstance(probe, AttentiveProbe)
    attention.in_proj_weight.copy_(torch.cat([torch.eye(DIM), probe.key.weight, probe.value.weight]))
    attention.out_proj.weight.copy_(torch.eye(DIM))
    patches = clips.patches[-1].flatten(1, 2)
    seen = attention(probe.query.expand(BATCH, 1, DIM), patches, patches)[0][:, 0]
    expected = probe.fc((seen - seen.mean(1, keepdim=True)) / (seen.var(1, keepdim=True, correction=0) + 1e-6).sqrt())
    torch.testing.assert_close(probe(clips), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_gate_starts_even_and_sums_to_one() -> None:
    probe = make("convex gated cls")
    assert isinstance(probe, ConvexGatedProbe)
    torch.testing.assert_close(probe.gate, torch.full((DEPTH,), 1 / DEPTH))
    probe.block_attention.copy_(torch.tensor([0.0, 3.0, -1.0]))
    torch.testing.assert_close(probe.gate.sum(), torch.tensor(1.0))
    assert probe.gate.argmax() == 1


@torch.no_grad()
def test_a_closed_gate_hides_all_layers_but_one() -> None:
    probe, clips = make("convex gated cls"), features()
    assert isinstance(probe, ConvexGatedProbe)
    probe.block_attention.copy_(torch.tensor([-200.0, 0.0, -200.0]))
    others = features(seed=1)
    middle = torch.tensor([False, True, False])
    swapped = Features(
        torch.where(middle[:, None, None], clips.cls, others.cls),
        torch.where(middle[:, None, None, None, None], clips.patches, others.patches),
        clips.pooled,
    )
    torch.testing.assert_close(probe(swapped), probe(clips))
    assert not torch.allclose(probe(others), probe(clips))


@torch.no_grad()
def test_the_length_of_tokens_and_prototypes_means_nothing_to_cgp() -> None:
    probe, clips = make("convex gated mean"), features()
    assert isinstance(probe, ConvexGatedProbe)
    before = probe(clips)
    probe.prototype_vectors.mul_(3.0)
    torch.testing.assert_close(probe(clips._replace(patches=5.0 * clips.patches)), before)


@torch.no_grad()
def test_silent_tokens_of_length_zero_give_finite_logits() -> None:
    clips = Features(*(torch.zeros_like(part) for part in features()))
    for name in PROBES:
        assert make(name)(clips).isfinite().all(), name


def prototypical(**settings: bool) -> PrototypicalProbe:
    torch.manual_seed(0)
    return PrototypicalProbe(sizes(), CLASSES, prototypes_per_class=3, **settings)


@torch.no_grad()
def test_the_authors_reshape_gives_other_activations() -> None:
    right, theirs = prototypical(), prototypical(authors_reshape=True)
    assert (
        right.activations(right.prepare(features())) - theirs.activations(theirs.prepare(features()))
    ).abs().max() > 1e-4


@torch.no_grad()
def test_upsampling_blends_neighbours_in_time_and_freq_only_in_the_correct_geometry() -> None:
    rise = torch.arange(GRID[0], dtype=torch.float32)[:, None, None].expand(*GRID, DIM)
    clips = features()._replace(patches=rise.expand(1, BATCH, *GRID, DIM))
    upsampled = prototypical(focal=False).upsample(clips.patches[-1])
    assert upsampled.shape == (BATCH, 2 * GRID[0], 2 * GRID[1], DIM)
    torch.testing.assert_close(upsampled, upsampled[:, :, :1].expand_as(upsampled))
    assert (upsampled[:, 1:] >= upsampled[:, :-1]).all()
    theirs = prototypical(focal=False, authors_reshape=True).upsample(clips.patches[-1])
    assert theirs.shape == (BATCH, 2 * GRID[1], 2 * GRID[0], DIM)
    assert not torch.allclose(theirs, theirs[:, :, :1].expand_as(theirs))


@torch.no_grad()
def test_a_prototype_finds_its_like_wherever_it_is() -> None:
    probe, clips = prototypical(focal=False), features()
    # A patch amid its equals survives the upsampling.
    clips.patches[-1, 2, 2:5, 3:6] = probe.prototype_vectors[7].flatten()
    activations = probe.activations(probe.prepare(clips))
    assert activations[2, 7] > 0.989
    assert activations[:2, 7].max() < 0.9
    assert activations.min() >= 0
    assert activations.max() < 1


@torch.no_grad()
def test_focal_similarity_is_relative_to_cls() -> None:
    clips, shift = features(), torch.randn(DIM)
    shifted = Features(clips.cls + shift, clips.patches + shift, clips.pooled)
    focal, plain = prototypical(), prototypical(focal=False)
    torch.testing.assert_close(
        focal.activations(focal.prepare(shifted)), focal.activations(focal.prepare(clips)), atol=1e-5, rtol=0
    )
    assert not torch.allclose(
        plain.activations(plain.prepare(shifted)), plain.activations(plain.prepare(clips)), atol=1e-2
    )


@torch.no_grad()
def test_prototypes_speak_for_their_own_class_and_never_against_it() -> None:
    probe, clips = prototypical(), features()
    probe.last_layer.weight[1] = -1.0
    torch.testing.assert_close(probe(clips)[:, 1], torch.full((BATCH,), -2.0))
    before = probe(clips)
    probe.prototype_vectors[6:9] = torch.randn(3, DIM, 1, 1)  # those of class 2
    changed = (probe(clips) != before).any(0)
    assert changed.tolist() == [False, False, True, False, False]


@torch.no_grad()
def test_contributions_and_bias_add_up_to_the_logit() -> None:
    probe, clips = prototypical(), features()
    contributions = probe.activations(probe.prepare(clips)).view(BATCH, CLASSES, 3) * probe.last_layer.weight.relu()
    torch.testing.assert_close(contributions.sum(2) + probe.last_layer.bias, probe(clips))


@torch.no_grad()
def test_orthonormal_prototypes_cost_nothing_and_equal_ones_do() -> None:
    probe = prototypical()
    rows = one_hot(torch.arange(3), DIM).float().repeat(CLASSES, 1)
    probe.prototype_vectors.copy_(rows[:, :, None, None])
    assert probe.orthogonality_loss() < 1e-4
    probe.prototype_vectors.copy_(torch.ones_like(probe.prototype_vectors))
    # Six entries of each 3 x 3 matrix are 1 too many: sqrt(5 * 6) / (5 * 9).
    torch.testing.assert_close(probe.orthogonality_loss(), torch.tensor(30**0.5 / 45), atol=1e-4, rtol=0)


def test_only_class_bound_prototypes_and_the_lasso_add_to_the_loss() -> None:
    expected = {name for name in PROBES if "prototypical" in name or "head2toe" in name}
    assert {name for name in PROBES if make(name).penalty() > 0} == expected


def wide(clips: Features) -> Features:
    return Features(*(torch.cat([part, part], dim=-1) for part in clips))


@every_probe
def test_features_of_another_width_are_refused(name: str) -> None:
    with pytest.raises(OscineError, match="32 wide, this probe reads 16"):
        make(name)(wide(features()))


def test_cgp_refuses_features_of_some_layers() -> None:
    with pytest.raises(OscineError, match="1 layers, this probe reads all 3"):
        make("convex gated cls")(features(depth=1))


def test_an_unknown_pool_names_those_that_exist() -> None:
    with pytest.raises(OscineError, match=r"'max'.*cls, mean, bands, frames, frame_bands, pooled"):
        LinearProbe(sizes(), CLASSES, pool="max")
    with pytest.raises(OscineError, match=r"'pooled'.*cls, mean, frames$"):
        ConvexGatedProbe(sizes(), CLASSES, pool="pooled")


def test_a_probe_of_nothing_is_refused() -> None:
    for refused in (
        lambda: LinearProbe(sizes(), 0),
        lambda: MLPProbe(sizes(), CLASSES, hidden=0),
        lambda: ProtobinProbe(sizes(), CLASSES, prototypes=0),
        lambda: ConvexGatedProbe(sizes(), CLASSES, prototypes=0),
        lambda: PrototypicalProbe(sizes(), CLASSES, prototypes_per_class=0),
    ):
        with pytest.raises(OscineError, match="at least 1"):
            refused()


def another(name: str) -> Probe:
    """The same probe with other weights."""
    torch.manual_seed(1)
    kind, settings = PROBES[name]
    return kind(sizes(), CLASSES, **settings).eval()


@every_probe
def test_a_fitted_probe_is_saved_and_loaded_by_its_state(name: str) -> None:
    probe, other = make(name), another(name)
    other.load_state_dict(probe.state_dict())
    assert torch.equal(other(features()), probe(features()))


@every_probe
def test_a_stored_probe_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    probe, other = make(name), another(name)
    save_file(probe.stored(), tmp_path / "probe.safetensors")
    other.load_stored(load_file(tmp_path / "probe.safetensors"))
    assert torch.equal(other(features()), probe(features()))


@pytest.mark.parametrize(("dim", "size"), [(16, 2), (12, 2), (768, 96)])
@torch.no_grad()
def test_a_binarised_prototype_is_stored_in_a_bit_a_weight(dim: int, size: int) -> None:
    probe = ProtobinProbe(sizes(dim), CLASSES, prototypes=7)
    probe.prototype_vectors[0] = 0.0  # the sign of 0 is +1
    stored = probe.stored()
    assert "prototype_vectors" not in stored
    assert stored["prototype_bits"].shape == (7, size)
    assert stored["prototype_bits"].dtype == torch.uint8
    other = ProtobinProbe(sizes(dim), CLASSES, prototypes=7)
    other.load_stored(stored)
    assert torch.equal(other.prototype_vectors, torch.where(probe.prototype_vectors >= 0, 1.0, -1.0))
    assert torch.equal(other.vectors(), probe.vectors())
    assert torch.equal(other.fc.weight, probe.fc.weight)


@torch.no_grad()
def test_efficient_probing_gives_each_query_its_share_of_the_values() -> None:
    probe, clips = make("efficient"), features()
    assert isinstance(probe, EfficientProbe)
    patches = clips.patches[-1].flatten(1, 2)
    weights = (probe.query @ patches.mT / DIM**0.5).softmax(-1)  # [batch, query, patch]
    shares = probe.value(patches).split(DIM // 4, dim=-1)
    seen = torch.cat([(weights[:, query, None] @ share)[:, 0] for query, share in enumerate(shares)], dim=-1)
    torch.testing.assert_close(probe(clips), probe.fc(seen), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_simpool_is_attention_of_the_mean_patch() -> None:
    probe, clips = make("simpool"), features()
    assert isinstance(probe, SimPoolProbe)
    patches = clips.patches[-1].flatten(1, 2)
    normed = probe.ln(patches)
    query = probe.query(patches.mean(1, keepdim=True))
    seen = nn.functional.scaled_dot_product_attention(query, probe.key(normed), normed)[:, 0]
    torch.testing.assert_close(probe(clips), probe.fc(seen), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_gated_attention_weighs_each_patch_by_itself() -> None:
    for name in ("gated attention", "gated attention, ungated"):
        probe, clips = make(name), features()
        assert isinstance(probe, GatedAttentionProbe)
        patches = clips.patches[-1].flatten(1, 2)
        gate = probe.gate(patches).sigmoid() if probe.gate else torch.ones(())
        scores = (probe.hidden(patches).tanh() * gate * probe.score.weight[0]).sum(-1)
        shares = scores.exp() / scores.exp().sum(1, keepdim=True)
        seen = (shares[:, :, None] * patches).sum(1)
        torch.testing.assert_close(probe(clips), probe.fc(seen), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_frame_of_a_probe_is_a_clip_of_one_time_step() -> None:
    clips = features()
    step = Features(clips.cls, clips.patches[:, :, 2:3], clips.pooled)
    for name in ("attentive", "efficient", "simpool", "gated attention", "protofloat", "protobin"):
        clip, frames = make(name), make(f"{name} frames")
        frames.load_state_dict(clip.state_dict())
        torch.testing.assert_close(frames(clips)[:, 2], clip(step), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_head2toe_reads_all_layers_side_by_side_in_their_order() -> None:
    probe, clips = make("head2toe"), features()
    assert isinstance(probe, Head2ToeProbe)
    side_by_side = torch.cat(list(clips.cls), dim=1)
    torch.testing.assert_close(probe(clips), probe.fc(probe.ln(side_by_side)))


@torch.no_grad()
def test_the_lasso_counts_the_length_of_each_inputs_weights() -> None:
    probe = Head2ToeProbe(sizes(), classes=4, lasso=0.5)
    assert isinstance(probe.fc, nn.Linear)
    probe.fc.weight.zero_()
    probe.fc.weight[:, 3] = 1.0  # length 2
    probe.fc.weight[0, 7] = -3.0
    torch.testing.assert_close(probe.penalty(), torch.tensor(0.5 * 2 * (2 + 3)))
    assert Head2ToeProbe(sizes(), classes=4, lasso=0.0).penalty() == 0


@torch.no_grad()
def test_a_layer_gate_starts_even_and_picks_a_layer() -> None:
    probe, clips = make("layer gated mean"), features()
    assert isinstance(probe, LayerGatedProbe)
    torch.testing.assert_close(probe.gate, torch.full((DEPTH,), 1 / DEPTH))
    probe.block_attention.copy_(torch.tensor([-200.0, 0.0, -200.0]))
    torch.testing.assert_close(probe(clips), probe.fc(probe.ln(clips.patches[1].mean((1, 2)))))


def test_layers_have_no_published_vector_to_pool() -> None:
    for kind in (LayerGatedProbe, Head2ToeProbe):
        with pytest.raises(OscineError, match=r"'pooled'.*cls, mean, bands, frames$"):
            kind(sizes(), CLASSES, pool="pooled")


def test_queries_that_cannot_share_the_values_are_refused() -> None:
    for queries in (0, 5):
        with pytest.raises(OscineError, match=f"{queries} queries share 16 values; choose .* a divisor of 16"):
            EfficientProbe(sizes(), CLASSES, queries=queries)


def test_what_a_probe_does_not_need_holds_no_memory() -> None:
    clips = features()
    for name in PROBES:
        taken = make(name).needs.take(clips)
        for part, whole in zip(taken, clips, strict=True):
            size = part.untyped_storage().nbytes()
            assert size == part.numel() * part.element_size() or part.data_ptr() == whole.data_ptr(), name
