"""A tiny encoder of every architecture of the zoo, whose every weight counts, for the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.beats import BEATs
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.convnext import ConvNeXt
from oscine.models.encoders.eat import EAT

DIM, DEPTH = 48, 3

# Of about a second: 112 frames. An encoder that is added to the zoo is added here.
TINY: dict[str, Callable[[], Encoder]] = {
    "BAT": lambda: BAT(DIM, DEPTH, heads=4, seconds=1.1),
    "BirdMAE": lambda: BirdMAE(DIM, DEPTH, heads=4, seconds=1.0),
    "EAT": lambda: EAT(DIM, DEPTH, heads=4, seconds=1.1),
    "BEATs": lambda: BEATs(DIM, DEPTH, heads=4, seconds=1.14, patch_dim=24),
    "AudioMAE": lambda: AudioMAE(DIM, DEPTH, heads=4, seconds=1.0, frames=112),
    "AudioMosaic": lambda: AudioMosaic(DIM, DEPTH, heads=4, seconds=1.0, frames=112),
}
CHUNKED = ("BAT", "EAT", "BEATs")  # those that take any length
TRAINED_POSITIONS = ("AudioMosaic",)  # those whose table of positions learns


# Of a second, in the sizes of the golden file. It has no patches that a recipe could hide, so it is not in TINY.
TINY_CONVNEXT: dict[str, Any] = {"depths": [1, 1, 2, 1], "widths": [16, 24, 32, 40], "seconds": 1.0}


def tiny_convnext(**settings: Any) -> ConvNeXt:
    return ConvNeXt(**TINY_CONVNEXT | settings)


def small_encoder() -> BAT:
    """The smallest that makes a table, of half a second, always with the same weights."""
    torch.manual_seed(0)
    return BAT(dim=8, depth=1, heads=1, seconds=0.5).eval()


def shaken(name: str) -> Encoder:
    """With every trained parameter moved off its initial value, so that no norm or bias is left without an effect."""
    torch.manual_seed(0)
    encoder = TINY[name]()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval().requires_grad_(False)


def gradients(encoder: Encoder, waveform: Tensor, part: str = "pooled") -> list[dict[str, Tensor]]:
    """Those of a part of the features, by parameter: with activations that are kept, then with such that are not."""
    encoder.requires_grad_(True)
    found = []
    for enable in (False, True):
        encoder.set_grad_checkpointing(enable)
        encoder.zero_grad()
        getattr(encoder(waveform), part).square().mean().backward()
        found.append({name: one.grad.clone() for name, one in encoder.named_parameters() if one.grad is not None})
    return found


def check_one_graph(encoder: Encoder, samples: int) -> None:
    """torch.export and torch.compile make one graph of it each, for batches of any size."""
    two, more = noise(2, samples), noise(5, samples, seed=1)
    program = torch.export.export(encoder, (two,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    torch.compiler.reset()  # of what other encoders of this process have left
    compiled = torch.compile(encoder, fullgraph=True, dynamic=True, backend="eager")
    for made in (program, compiled):
        for waveform in (two, more):
            for part, expected in zip(made(waveform), encoder(waveform), strict=True):
                assert_close(part, expected, atol=1e-5, rtol=0)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
