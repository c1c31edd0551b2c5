"""Define EAT's and SSLAM's encoder: post-norm blocks, any length at 16 kHz (arXiv 2401.03497; openreview odU59TxdiB)."""

from __future__ import annotations

from torch import Tensor

from oscine.models.encoders.base.layers import CHUNK, BlockSizes, sincos_positions
from oscine.models.encoders.base.post_norm import PostNormEncoder
from oscine.models.encoders.frontends.mel import MELS, PATCH, EATFrontend


class EAT(PostNormEncoder):
    """Post-norm blocks on Kaldi's filter bank; any length of sound.

    SSLAM is the same architecture, trained on mixtures. `mean` and `std` are of AudioSet's log mel values
    as the authors of BAT evaluate both models; EAT's own scripts have -4.268 and 4.569, and pad before they standardise.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 16_000,
        seconds: float = 10.23,
        mean: float = -4.59864076,
        std: float = 4.357353477,
    ) -> None:
        sizes = BlockSizes(dim, depth, heads, mlp_ratio, drop_path)
        super().__init__(EATFrontend(sample_rate, mean, std), seconds, sizes)

    def position_table(self, dim: int) -> Tensor:
        # With its axes exchanged the table of Bird-MAE and BAT is what it was meant to be: frequency, then time.
        return sincos_positions((MELS // PATCH, CHUNK // PATCH), dim)
