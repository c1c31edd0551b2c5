"""What is planted in single patches is found in the order that the papers report: prototypes, attention, mean pooling."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.probe.fit.judge import fit_probe, predict
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.protobin import ProtobinProbe, ProtofloatProbe
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.metrics.metrics import average_precisions

CLASSES, DIM, GRID = 10, 64, (4, 8)
CLIPS, TRAIN = 1200, 800
ENCODER = cast(Encoder, SimpleNamespace(dim=DIM, depth=1, heads=4, grid=GRID, stacked=True, spatial=True))


@pytest.fixture(scope="module")
def planted() -> tuple[Features, Tensor]:
    """Clips of noise; each of a clip's labels adds its direction to one patch."""
    draw = torch.Generator().manual_seed(0)
    directions = 6 * normalize(torch.randn(CLASSES, DIM, generator=draw), dim=1)
    targets = (torch.rand(CLIPS, CLASSES, generator=draw) < 0.3).float()
    patches = torch.randn(CLIPS, GRID[0] * GRID[1], DIM, generator=draw)
    places = torch.rand(patches.shape[:2], generator=draw).argsort(1)[:, :CLASSES]
    patches.scatter_add_(1, places[:, :, None].expand(-1, -1, DIM), targets[:, :, None] * directions)
    mean = patches.mean(1)
    return Features(mean[None], patches.view(1, CLIPS, *GRID, DIM), mean), targets


@pytest.fixture(scope="module")
def average_precision(planted: tuple[Features, Tensor]) -> Callable[[Callable[[], Probe], float], float]:
    features, targets = planted

    def fitted(make: Callable[[], Probe], lr: float) -> float:
        torch.manual_seed(0)
        probe = make()
        prepared = probe.prepare(features)
        settings = FitSettings(steps=250, warmup=25, batch_size=50, lr=lr)
        fit_probe(probe, prepared, targets, torch.arange(TRAIN), settings)
        test = torch.arange(TRAIN, CLIPS)
        return average_precisions(predict(probe, prepared, test), targets[test]).mean().item()

    return fitted


def test_prototypes_find_more_than_attention_and_attention_more_than_the_mean(
    average_precision: Callable[[Callable[[], Probe], float], float],
) -> None:
    mean = average_precision(lambda: LinearProbe(ENCODER, CLASSES, pool="mean"), 3e-3)
    attention = average_precision(lambda: AttentiveProbe(ENCODER, CLASSES), 3e-3)
    assert mean < 0.5
    assert mean + 0.2 < attention < 0.9
    prototypes = {
        "one bit": lambda: ProtobinProbe(ENCODER, CLASSES, prototypes=100),
        "floats": lambda: ProtofloatProbe(ENCODER, CLASSES, prototypes=100),
        "gated": lambda: ConvexGatedProbe(ENCODER, CLASSES, prototypes=100),
        "bound to classes": lambda: PrototypicalProbe(ENCODER, CLASSES, prototypes_per_class=3, focal=False),
    }
    for name, make in prototypes.items():
        assert average_precision(make, 2e-2) > max(attention + 0.05, 0.9), name
