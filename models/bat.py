"""BAT's encoder: post-norm blocks with gated attention over any length of sound at 16 kHz (arXiv 2602.16305)."""

from __future__ import annotations

import torch
from timm.layers import LayerNorm
from torch import Tensor, nn

from oscine.models.encoder import ChunkedEncoder
from oscine.models.frontend import MELS, BATFrontend
from oscine.models.layers import (
    CHUNK,
    PATCH,
    GatedPostNormBlock,
    drop_path_rates,
    frozen,
    init_linear,
    sincos_positions,
)


class BAT(ChunkedEncoder):
    """Gated post-norm blocks on up to 64 x 8 patches and a CLS token without position; longer sounds in chunks."""

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
        config = {
            "dim": dim, "depth": depth, "heads": heads, "mlp_ratio": mlp_ratio, "drop_path": drop_path,
            "sample_rate": sample_rate, "seconds": seconds, "n_fft": n_fft, "hop": hop,
        }  # fmt: skip
        super().__init__(config, BATFrontend(sample_rate, n_fft, hop))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = frozen(self.position_table(dim)[None])
        self.pre_norm = LayerNorm(dim)
        self.blocks = nn.ModuleList(
            GatedPostNormBlock(dim, heads, mlp_ratio, rate) for rate in drop_path_rates(drop_path, depth)
        )
        self.init_weights()

    def init_weights(self) -> None:
        """As pretraining starts; the patch projection keeps PyTorch's default."""
        init_linear(self)
        nn.init.normal_(self.cls_token, std=0.02)

    def position_table(self, dim: int) -> Tensor:
        return sincos_positions((CHUNK // PATCH, MELS // PATCH), dim)

    def patch_positions(self) -> Tensor:
        return self.pos_embed

    def begin(self, tokens: Tensor) -> Tensor:
        return self.pre_norm(torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1))

    def pool(self, last: Tensor) -> Tensor:
        return last[:, 0]
