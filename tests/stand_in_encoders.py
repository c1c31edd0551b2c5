"""Encoders of kinds that the zoo does not have, tiny: whatever takes an `Encoder` has to take these, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.frontends.mel import EATFrontend
from oscine.models.encoders.wav2vec2 import Wav2Vec2
from oscine.models.timm_parts import Block, LayerNorm

RATE, DIM = 8_000, 32


class Frames(Encoder):
    """On raw waveforms, as HuBERT: a frame every 20 ms, no frequencies, any length."""

    any_length = True
    window, hop = 200, 160

    def __init__(self, dim: int = DIM, depth: int = 3, sample_rate: int = RATE, seconds: float = 0.5) -> None:
        samples = round(seconds * sample_rate)
        super().__init__(
            dim=dim, depth=depth, sample_rate=sample_rate, seconds=seconds,
            grid=(self.steps(samples), 1), step_seconds=self.hop / sample_rate,
        )  # fmt: skip
        self.stem = nn.Conv1d(1, dim, self.window, self.hop)
        self.blocks = nn.ModuleList(Block(dim, 2, qkv_bias=True, norm_layer=LayerNorm) for _ in range(depth))

    def steps(self, samples: int) -> int:
        return 1 + max(0, samples - self.window) // self.hop

    def prepare(self, waveform: Tensor) -> Tensor:
        missing = max(0, self.window - waveform.shape[1])
        return nn.functional.pad(super().prepare(waveform), (0, missing))

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        tokens, outputs = self.stem(input[:, None]).transpose(1, 2), []
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens[:, :, None])
        return Features.of_patches([outputs[layer] for layer in self.layer_numbers(layers)], tokens.mean(1))


class Waves(Wav2Vec2):
    """HuBERT's kind, small: two convolutions' worth of positions, every frame hears the whole clip."""

    def __init__(self, depth: int = 3, sample_rate: int = RATE, seconds: float = 0.5) -> None:
        super().__init__(
            DIM, depth, heads=2, conv_dim=16, conv_width=8, conv_groups=4, normalise=True, sample_rate=sample_rate,
            seconds=seconds,
        )  # fmt: skip


class Stages(Encoder):
    """Convolutions on a spectrogram: every stage is wider and coarser than the one before; one length."""

    block_path = "stages"
    stacked = False
    spectral = True

    def __init__(self, widths: list[int] | None = None, sample_rate: int = RATE, seconds: float = 0.5) -> None:
        widths = widths or [8, 16, DIM]
        mel = EATFrontend(sample_rate, -4.6, 4.4)
        stride = 2 ** len(widths)
        super().__init__(
            dim=widths[-1],
            depth=len(widths),
            sample_rate=sample_rate,
            seconds=seconds,
            grid=(mel.frames(round(seconds * sample_rate)) // stride, 128 // stride),
            step_seconds=stride * mel.frame_seconds,
        )
        self.mel = mel
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, width, 3, 2, 1), nn.GELU())
            for before, width in zip([1, *widths], widths, strict=False)
        )

    @property
    def preparing(self) -> Callable[[Tensor], Tensor]:
        return self.mel

    def prepare(self, waveform: Tensor) -> Tensor:
        return self.mel(super().prepare(waveform))

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        image, outputs = input[:, None], []
        for stage in self.stages:
            image = stage(image)
            outputs.append(image.permute(0, 2, 3, 1))
        return Features.of_patches([outputs[layer] for layer in self.layer_numbers(layers)], outputs[-1].mean((1, 2)))


class File(Encoder):
    """What another library computes, from a file that lies in a buffer: one vector a clip, one length, no gradients."""

    trainable = False
    exportable = False
    spatial = False
    file: Tensor

    def __init__(self, dim: int = DIM, sample_rate: int = RATE, seconds: float = 0.5) -> None:
        super().__init__(
            dim=dim, depth=1, sample_rate=sample_rate, seconds=seconds, grid=(1, 1), step_seconds=seconds
        )  # fmt: skip
        self.register_buffer("file", torch.randn(self.samples, dim).view(torch.uint8))

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        self.layer_numbers(layers)
        weights = np.frombuffer(self.file.cpu().numpy().tobytes(), np.float32).reshape(self.samples, self.dim)
        vectors = np.tanh(np.stack([clip @ weights for clip in input.detach().cpu().numpy()]))
        return Features.of_patches([torch.from_numpy(vectors).to(input.device)[:, None, None]])


STAND_INS: dict[str, Callable[[], Encoder]] = {
    "frames": Frames,
    "waves": Waves,
    "stages": Stages,
    "file": File,
}


def stand_in(kind: str) -> Encoder:
    """Always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return STAND_INS[kind]().eval()
