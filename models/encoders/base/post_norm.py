"""What BAT, EAT and SSLAM share: post-norm blocks on CLS and the patches of a chunk, over any length of sound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oscine.models.compat import LayerNorm
from oscine.models.encoders.base.layers import PostNormBlock, drop_path_rates, frozen, init_linear
from oscine.models.encoders.base.patch_encoder import ChunkedEncoder
from oscine.models.encoders.frontends.mel import Frontend


class PostNormEncoder(ChunkedEncoder):
    """Post-norm blocks on up to 64 x 8 patches and a CLS token without position; longer sounds in chunks.

    A subclass gives the frontend, its kind of `block` and the table of positions. `pooled` is CLS.
    """

    block = PostNormBlock

    def __init__(
        self,
        frontend: Frontend,
        *,
        dim: int,
        depth: int,
        heads: int,
        seconds: float,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__(frontend, dim=dim, depth=depth, heads=heads, seconds=seconds)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.dim))
        self.pos_embed = frozen(self.position_table(self.dim)[None])
        self.pre_norm = LayerNorm(self.dim)
        self.blocks = nn.ModuleList(
            self.block(self.dim, self.heads, mlp_ratio, rate) for rate in drop_path_rates(drop_path, self.depth)
        )
        self.init_weights()

    def init_weights(self) -> None:
        """As pretraining starts; the patch projection keeps PyTorch's default."""
        init_linear(self)
        nn.init.normal_(self.cls_token, std=0.02)

    def patch_positions(self) -> Tensor:
        return self.pos_embed

    def begin(self, tokens: Tensor) -> Tensor:
        return self.pre_norm(torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1))

    def pool(self, last: Tensor) -> Tensor:
        return last[:, 0]
