"""Define ConvNeXt_BS's and AudioProtoPNet's encoder: ConvNeXt on a spectrogram (arXiv 2201.03545, 2404.10420)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from einops import rearrange
from torch import Tensor

from oscine.models.encoders.base.features import Features
from oscine.models.encoders.base.layers import run_blocks
from oscine.models.encoders.base.spectral_encoder import SpectralEncoder
from oscine.models.encoders.frontends.decibels import ConvNeXtFrontend
from oscine.models.errors import OscineError
from oscine.models.timm_parts import ConvNeXt as Network
from oscine.models.timm_parts import ConvNeXtStage

STRIDE = 32  # frames and mel bands from one patch of the last map to the next
TOGETHER = 3  # blocks of a stage that learn at one rate, as ConvNeXt's authors have it: the base's 36 are 12 layers


class ConvNeXt(SpectralEncoder):
    """timm's ConvNeXt on a spectrogram as an image of one channel; its layers are the blocks of the last stage.

    The stages before have other widths and grids. `pooled` is the norm of the mean over the last map, which transformers
    calls pooler_output.

    depths, widths: blocks of each of the four stages, and their width. n_fft, hop, bands, mean, std: of the spectrogram; by
    default those of ConvNeXt_BS.
    """

    block_path = "stages"

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 27, 3),
        widths: Sequence[int] = (128, 256, 512, 1024),
        drop_path: float = 0.0,
        sample_rate: int = 32_000,
        seconds: float = 5.0,
        n_fft: int = 1024,
        hop: int = 320,
        bands: int = 128,
        mean: float = -4.268,
        std: float = 4.569,
    ) -> None:
        if len(depths) != 4 or len(widths) != 4 or min(*depths, *widths) < 1:
            raise OscineError(f"depths={list(depths)}, widths={list(widths)}: expected 4 stages, all above 0")
        frontend = ConvNeXtFrontend(sample_rate, n_fft, hop, bands=bands, mean=mean, std=std)
        super().__init__(
            frontend,
            dim=widths[-1],
            depth=depths[-1],
            seconds=seconds,
            grid=(frontend.frames(round(seconds * sample_rate)) // STRIDE, bands // STRIDE),
            step_seconds=STRIDE * frontend.frame_seconds,
        )
        network = Network(1, 0, depths=tuple(depths), dims=tuple(widths), drop_path_rate=drop_path)
        self.stem, self.stages, self.head = network.stem, network.stages, network.head

    def prepare(self, waveform: Tensor) -> Tensor:  # [batch, frames, mel]
        """Return the spectrogram of a waveform [batch, samples], filled up with silence to a whole clip."""
        return self.frontend(super().prepare(waveform))

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        """Compute the features of a spectrogram [batch, frames, mel] of its frontend."""
        wanted = self.layer_numbers(layers)
        self._check_spectrogram(input)
        image = rearrange(input, "batch frames mel -> batch 1 mel frames").to(next(self.stem.parameters()).dtype)
        last = cast(ConvNeXtStage, self.stages[-1])
        begun = last.downsample(self.stages[:-1](self.stem(image)))
        *maps, final = run_blocks(last.blocks, begun, [*wanted, self.depth - 1], checkpointing=last.grad_checkpointing)
        patches = [rearrange(one, "batch dim freq time -> batch time freq dim") for one in maps]
        return Features.of_patches(patches, self.head(final))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        for stage in self.stages:
            cast(ConvNeXtStage, stage).grad_checkpointing = enable

    @property
    def decay_layers(self) -> int:
        return self._layers_before(len(self.stages))

    def layer_of(self, parameter: str) -> int:
        part, *places = parameter.split(".")
        if part != "stages":
            return self.decay_layers + 1 if part == "head" else 0
        stage, inside, number, *_ = places
        block = int(number) if inside == "blocks" else 0  # what halves the grid learns as the block behind it
        return 1 + self._layers_before(int(stage)) + block // TOGETHER

    def _layers_before(self, stage: int) -> int:
        return sum(math.ceil(len(cast(ConvNeXtStage, one).blocks) / TOGETHER) for one in self.stages[:stage])

    def _check_spectrogram(self, spectrogram: Tensor) -> None:
        bands = self.frontend.bands
        if spectrogram.ndim != 3 or spectrogram.shape[2] != bands or spectrogram.shape[1] < STRIDE:
            raise OscineError(
                f"spectrogram has shape {tuple(spectrogram.shape)}, expected [batch, frames, {bands}] with {STRIDE} frames "
                "at least; encoder.frontend(waveform) makes one"
            )
