"""Define BAT's encoder: post-norm blocks with gated attention, any length at 16 kHz (arXiv 2602.16305)."""

from __future__ import annotations

from torch import Tensor

from oscine.models.encoders.base.layers import CHUNK, BlockSizes, GatedPostNormBlock, sincos_positions
from oscine.models.encoders.base.post_norm import PostNormEncoder
from oscine.models.encoders.frontends.decibels import BATFrontend
from oscine.models.encoders.frontends.mel import MELS, PATCH


class BAT(PostNormEncoder):
    """Post-norm blocks with gated attention, on BAT's own spectrogram; any length of sound."""

    block = GatedPostNormBlock

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 16_000,
        seconds: float = 10.23,
        n_fft: int = 1024,
        hop: int = 160,
    ) -> None:
        sizes = BlockSizes(dim, depth, heads, mlp_ratio, drop_path)
        super().__init__(BATFrontend(sample_rate, n_fft, hop), seconds, sizes)

    def position_table(self, dim: int) -> Tensor:
        return sincos_positions((CHUNK // PATCH, MELS // PATCH), dim)
