"""The contract of every encoder: waveforms in, `Features` out, its audio settings and weights in one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from timm.layers import PatchEmbed
from torch import Tensor, nn

from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.frontend import MELS, Frontend
from oscine.models.layers import PATCH, gather_kept


class Encoder(nn.Module):
    """A vision transformer over the patches of a spectrogram, together with the frontend that makes the spectrogram.

    A subclass adds its blocks and norms under the published parameter names and says how a sequence begins (`begin`), how
    the last layer is finished (`finish`) and what its one vector a clip is (`pool`).

    config       the constructor's numbers; `Class(**config)` builds the same architecture, config.json stores them
    grid         (time, freq) patches of one clip
    dim, depth   width of a token, number of blocks
    heads        attention heads of a block
    sample_rate  of the waveforms it takes, in Hz
    samples      of one clip
    """

    patch_embed: PatchEmbed
    cls_token: nn.Parameter
    pos_embed: nn.Parameter
    blocks: nn.ModuleList

    def __init__(self, config: dict[str, Any], frontend: Frontend) -> None:
        super().__init__()
        self.config = config
        self.frontend = frontend
        self.dim: int = config["dim"]
        self.depth: int = config["depth"]
        self.heads: int = config["heads"]
        self.sample_rate: int = config["sample_rate"]
        self.samples = round(config["seconds"] * self.sample_rate)
        self._check_sizes(frontend)
        self.grid = (frontend.frames(self.samples) // PATCH, MELS // PATCH)
        self.patch_embed = PatchEmbed(img_size=None, patch_size=PATCH, in_chans=1, embed_dim=self.dim)

    @property
    def seconds(self) -> float:
        """Length of one clip."""
        return self.samples / self.sample_rate

    @property
    def device(self) -> torch.device:
        return self.cls_token.device

    def forward(
        self, waveform: Tensor, sample_rate: int | None = None, layers: Sequence[int] | None = None
    ) -> Features:
        """Encode a batch of clips. waveform [batch, samples], mono float, at the encoder's sample rate.

        sample_rate: the waveform's, if you want it checked; one that differs from the encoder's is an error.
        layers: which block outputs to return, in that order; negative numbers count from the end; None is all of them.
        """
        self._check_waveform(waveform, sample_rate)
        wanted = self._layer_numbers(layers)
        outputs = self.encode(self.frontend(waveform), layers=[*wanted, -1])
        last = outputs.pop()
        outputs = [
            self.finish(last) if layer == self.depth - 1 else tokens
            for layer, tokens in zip(wanted, outputs, strict=True)
        ]
        freq = self.grid[1]
        return Features(
            cls=torch.stack([tokens[:, 0] for tokens in outputs]),
            patches=torch.stack(
                [
                    rearrange(tokens[:, 1:], "batch (time freq) dim -> batch time freq dim", freq=freq)
                    for tokens in outputs
                ]
            ),
            pooled=self.pool(last),
        )

    def encode(
        self, spectrogram: Tensor, keep: Tensor | None = None, layers: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Raw outputs of the blocks, CLS first: each [batch, 1 + patches, dim].

        spectrogram [batch, frames, mel], as the frontend makes it. keep [batch * views, kept] are the patches that are seen,
        ascending, every view of a clip after the other; the outputs are then [batch * views, 1 + kept, dim].
        """
        wanted = self._layer_numbers(layers)
        tokens = self.embed(spectrogram)
        if keep is not None:
            tokens = gather_kept(tokens, keep)
        tokens = self.begin(tokens)
        outputs = []
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        return [outputs[layer] for layer in wanted]

    def embed(self, spectrogram: Tensor) -> Tensor:  # [batch, patches, dim]
        """Patch tokens with their positions, time-major; no CLS yet."""
        self._check_spectrogram(spectrogram)
        image = rearrange(spectrogram, "batch frames mel -> batch 1 frames mel")
        tokens = self.patch_embed(image.to(self.patch_embed.proj.weight.dtype))
        return tokens + self.patch_positions()[:, : tokens.shape[1]]

    def position_table(self, dim: int) -> Tensor:  # [patches, dim]
        """The fixed positions of patches, for tokens of any width: a recipe's decoder uses them too."""
        raise NotImplementedError

    def patch_positions(self) -> Tensor:  # [1, patches, dim]
        """The part of `pos_embed` that belongs to patches."""
        raise NotImplementedError

    def begin(self, tokens: Tensor) -> Tensor:
        """[batch, patches, dim] to what the first block reads, [batch, 1 + patches, dim]."""
        raise NotImplementedError

    def finish(self, last: Tensor) -> Tensor:
        """The last block's raw output as it stands in `Features`."""
        return last

    def pool(self, last: Tensor) -> Tensor:  # [batch, dim]
        """One vector a clip from the last block's raw output, as the published model returns it."""
        raise NotImplementedError

    def _layer_numbers(self, layers: Sequence[int] | None) -> list[int]:
        if layers is None:
            return list(range(self.depth))
        if not layers:
            raise OscineError(f"no layers asked for; choose from 0 to {self.depth - 1}, or None for all")
        for layer in layers:
            if not -self.depth <= layer < self.depth:
                raise OscineError(f"layer {layer} of an encoder with {self.depth}: choose from 0 to {self.depth - 1}")
        return [layer % self.depth for layer in layers]

    def _check_sizes(self, frontend: Frontend) -> None:
        if self.dim % self.heads or self.dim % 4:
            raise OscineError(f"dim={self.dim}, heads={self.heads}: dim must be a multiple of heads and of 4")
        if self.depth < 1 or frontend.raw_frames(self.samples) < 1 or self.samples < 1:
            raise OscineError(f"depth={self.depth}, seconds={self.seconds:g}: expected a block and a frame at least")

    def _check_waveform(self, waveform: Tensor, sample_rate: int | None) -> None:
        if waveform.ndim != 2:
            raise OscineError(
                f"waveform has shape {tuple(waveform.shape)}, expected [batch, samples]; for one clip pass waveform[None]"
            )
        if not waveform.is_floating_point():
            raise OscineError(
                f"waveform is {waveform.dtype}, expected floats in [-1, 1]; load_audio gives them, int16 / 32768 does too"
            )
        if sample_rate is not None and sample_rate != self.sample_rate:
            raise OscineError(
                f"waveform has {sample_rate} Hz, this encoder takes {self.sample_rate} Hz; "
                f"load_audio(path, {self.sample_rate}) resamples"
            )
        if not waveform.numel():
            raise OscineError(f"waveform has shape {tuple(waveform.shape)}, there is nothing to hear; leave it out")

    def _check_spectrogram(self, spectrogram: Tensor) -> None:
        fits = spectrogram.ndim == 3 and spectrogram.shape[2] == MELS and spectrogram.shape[1] % PATCH == 0
        if not fits or not spectrogram.numel():
            raise OscineError(
                f"spectrogram has shape {tuple(spectrogram.shape)}, expected [batch, frames, {MELS}] with frames a "
                f"multiple of {PATCH}; encoder.frontend(waveform) makes one"
            )
