"""The probes equal the authors' in logits and in every gradient (golden tensors)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from oscine.models.encoders.base.features import Features
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import LayerGatedProbe, LinearProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.protobin import ProtobinProbe
from oscine.probe.heads.prototypical import PrototypicalProbe

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
TOLERANCE = 1e-5  # of logits, absolute; of gradients, relative to the largest entry

PROBES: dict[str, tuple[Callable[..., Probe], dict[str, Any]]] = {
    "linear_cls": (LinearProbe, {"pool": "cls"}),
    "linear_mean": (LinearProbe, {"pool": "mean"}),
    "linear_gated_cls": (LayerGatedProbe, {"pool": "cls"}),
    "binarized_prototypes": (ProtobinProbe, {"pool": "clip", "prototypes": 16}),
    "binarized_prototypes_frames": (ProtobinProbe, {"pool": "frames", "prototypes": 16}),
    "cgp_cls": (ConvexGatedProbe, {"pool": "cls", "prototypes": 16}),
    "cgp_mean": (ConvexGatedProbe, {"pool": "mean", "prototypes": 16}),
    "cgp_frames": (ConvexGatedProbe, {"pool": "frames", "prototypes": 16}),
}


@pytest.fixture(scope="module")
def bat() -> dict[str, Tensor]:
    return load_file(GOLDEN / "bat.safetensors")


@pytest.fixture(scope="module")
def bird_mae() -> dict[str, Tensor]:
    return load_file(GOLDEN / "birdmae.safetensors")


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def bat_features(bat: dict[str, Tensor]) -> Features:
    cls = bat["probe.input.cls"]
    patches = rearrange(bat["probe.input.patches"], "layer batch dim time freq -> layer batch time freq dim")
    return Features(cls, patches, pooled=cls[-1])


@pytest.fixture(scope="module")
def bird_mae_features(bird_mae: dict[str, Tensor]) -> Features:
    """Of the last layer alone, after the final norm."""
    tokens = bird_mae["out.tokens_norm"]
    patches = rearrange(tokens[:, 1:], "batch (time freq) dim -> 1 batch time freq dim", freq=8)
    return Features(tokens[None, :, 0], patches, bird_mae["out.pooled_fcnorm"])


def test_every_probe_of_the_authors_is_compared(bat: dict[str, Tensor]) -> None:
    assert {name.split(".")[1] for name in bat if name.startswith("probe.")} == {"input", *PROBES}


def authors_probe(name: str, bat: dict[str, Tensor]) -> Probe:
    kind, settings = PROBES[name]
    probe = kind(BAT(dim=48, depth=3, heads=4), classes=6, **settings)
    probe.load_state_dict(under(f"probe.{name}.state.", bat))
    return probe


@pytest.mark.parametrize("name", PROBES)
def test_logits_equal_the_authors(name: str, bat: dict[str, Tensor], bat_features: Features) -> None:
    logits = authors_probe(name, bat)(bat_features)
    torch.testing.assert_close(logits, bat[f"probe.{name}.logits"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", PROBES)
def test_every_gradient_equals_the_authors(name: str, bat: dict[str, Tensor], bat_features: Features) -> None:
    probe = authors_probe(name, bat)
    (probe(bat_features) * bat[f"probe.{name}.cotangent"]).sum().backward()
    expected = under(f"probe.{name}.grad.", bat)
    assert expected.keys() == dict(probe.named_parameters()).keys()
    for parameter, value in probe.named_parameters():
        assert value.grad is not None
        error = (value.grad - expected[parameter]).abs().max() / expected[parameter].abs().max()
        assert error < TOLERANCE, f"{parameter}: {error}"


@pytest.fixture(scope="module")
def prototypical(bird_mae: dict[str, Tensor]) -> PrototypicalProbe:
    encoder = BirdMAE(dim=48, depth=2, heads=4)
    probe = PrototypicalProbe(encoder, classes=5, prototypes_per_class=3, authors_reshape=True)
    probe.load_state_dict(under("prototypical.state.", bird_mae))
    return probe


@torch.no_grad()
def test_prototypes_are_excited_as_the_authors(
    prototypical: PrototypicalProbe, bird_mae: dict[str, Tensor], bird_mae_features: Features
) -> None:
    activations = prototypical.activations(prototypical.prepare(bird_mae_features))
    torch.testing.assert_close(activations, bird_mae["out.ppnet_max_activations"], atol=2e-6, rtol=0)


@torch.no_grad()
def test_prototypical_logits_equal_the_authors(
    prototypical: PrototypicalProbe, bird_mae: dict[str, Tensor], bird_mae_features: Features
) -> None:
    logits = prototypical(bird_mae_features)
    torch.testing.assert_close(logits, bird_mae["out.ppnet_logits"], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_the_orthogonality_loss_equals_the_authors(
    prototypical: PrototypicalProbe, bird_mae: dict[str, Tensor]
) -> None:
    expected = bird_mae["out.ppnet_orthogonality_loss"][0]
    torch.testing.assert_close(prototypical.orthogonality_loss(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(prototypical.penalty(), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_from_the_authors_input_and_weights_to_their_logits(
    prototypical: PrototypicalProbe, bird_mae: dict[str, Tensor]
) -> None:
    encoder = BirdMAE(dim=48, depth=2, heads=4).eval()
    encoder.load_state_dict(under("encoder.state.", bird_mae))
    last = encoder.finish(encoder.encode(bird_mae["input"][:, 0])[-1])
    patches = rearrange(last[:, 1:], "batch (time freq) dim -> 1 batch time freq dim", freq=8)
    logits = prototypical(Features(last[None, :, 0], patches, pooled=last[:, 0]))
    torch.testing.assert_close(logits, bird_mae["out.ppnet_logits"], atol=TOLERANCE, rtol=0)
