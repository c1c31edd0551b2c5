"""Define ConvNeXt_BS's and AudioProtoPNet's encoder: ConvNeXt on a spectrogram (arXiv 2201.03545, 2404.10420)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from einops import rearrange
from torch import Tensor

from oscine.models.encoders.base.features import Features, timm_indices
from oscine.models.encoders.base.layers import run_blocks
from oscine.models.encoders.base.spectral_encoder import SpectralEncoder
from oscine.models.encoders.frontends.decibels import ConvNeXtFrontend
from oscine.models.errors import OscineError
from oscine.models.timm_parts import ConvNeXt as Network
from oscine.models.timm_parts import ConvNeXtStage

STRIDE = 32  # frames and mel bands from one patch of the last map to the next
BLOCKS_PER_RATE = (
    3  # blocks of a stage that learn at one rate, as ConvNeXt's authors have it: the base's 36 are 12 layers
)


class ConvNeXt(SpectralEncoder):
    """timm's ConvNeXt on a spectrogram as an image of one channel; its layers are the blocks of the last stage.

    The stages before have other widths and grids. `pooled` is the norm of the mean over the last map, which transformers
    calls pooler_output.

    depths, widths: blocks of each of the four stages, and their width. n_fft, hop, bands, mean, std: of the spectrogram; by
    default those of ConvNeXt_BS.
    """

    block_path = "stages"
    class_token = False

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
        last = cast(ConvNeXtStage, self.stages[-1])
        begun = last.downsample(self.stages[:-1](self.embed(input)))
        *maps, final = run_blocks(last.blocks, begun, [*wanted, self.depth - 1], checkpointing=last.grad_checkpointing)
        patches = [rearrange(one, "batch dim freq time -> batch time freq dim") for one in maps]
        return Features.of_patches(patches, self.head(final))

    def embed(self, spectrogram: Tensor) -> Tensor:  # [batch, width, freq, time]
        """Make of a spectrogram [batch, frames, mel] what the first stage reads."""
        self._check_spectrogram(spectrogram)
        image = rearrange(spectrogram, "batch frames mel -> batch 1 mel frames")
        return self.stem(image.to(next(self.stem.parameters()).dtype))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps of stages, with timm's signature and results, for code that was written for timm.

        Stages, of which the layers are the last one's blocks. x: a spectrogram [batch, frames, mel], or the image [batch, 1,
        frames, mel]. indices: stages by number, or how many from the end; they come in the order of depth, [batch, width,
        time, freq] each. norm: changes nothing, since the norm of this network comes after its pooling.
        """
        if output_fmt != "NCHW":
            raise OscineError(f"output_fmt is {output_fmt!r}, expected NCHW, in which stages have their maps")
        wanted, last = timm_indices(indices, len(self.stages), "stage"), len(self.stages) - 1
        begun = self.embed(x[:, 0] if x.ndim == 4 and x.shape[1] == 1 else x)
        maps = run_blocks(self.stages, begun, wanted if stop_early else [*wanted, last])
        maps = [rearrange(one, "batch width freq time -> batch width time freq") for one in maps]
        intermediates = maps[: len(wanted)]
        return intermediates if intermediates_only else (maps[-1], intermediates)

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """What timm's wrappers ask of a model: the name, width and stride of every stage that it can return."""
        strides = [STRIDE >> halved for halved in reversed(range(len(self.stages)))]
        return [
            {"module": f"stages.{stage}", "num_chs": width, "reduction": stride}
            for stage, (width, stride) in enumerate(zip(self.config["widths"], strides, strict=True))
        ]

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
        return 1 + self._layers_before(int(stage)) + block // BLOCKS_PER_RATE

    def _layers_before(self, stage: int) -> int:
        return sum(math.ceil(len(cast(ConvNeXtStage, one).blocks) / BLOCKS_PER_RATE) for one in self.stages[:stage])

    def _check_spectrogram(self, spectrogram: Tensor) -> None:
        bands = self.frontend.bands
        if spectrogram.ndim != 3 or spectrogram.shape[2] != bands or spectrogram.shape[1] < STRIDE:
            raise OscineError(
                f"spectrogram has shape {tuple(spectrogram.shape)}, expected [batch, frames, {bands}] with {STRIDE} frames "
                "at least; encoder.frontend(waveform) makes one"
            )
