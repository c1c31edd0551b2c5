"""Build what BAT, EAT and SSLAM share: post-norm blocks on CLS and the patches of a chunk, for any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.layers import BlockSizes, PostNormBlock, drop_path_rates, frozen, init_linear
from oscine.models.encoders.base.patch_encoder import ChunkedEncoder
from oscine.models.encoders.frontends.mel import Frontend
from oscine.models.timm_parts import LayerNorm


class PostNormEncoder(ChunkedEncoder):
    """Post-norm blocks on up to 64 x 8 patches and a CLS token without position; longer sounds in chunks.

    A subclass gives the frontend, its kind of `block` and the table of positions. `pooled` is CLS.
    """

    block = PostNormBlock

    def __init__(self, frontend: Frontend, seconds: float, sizes: BlockSizes) -> None:
        super().__init__(frontend, dim=sizes.dim, depth=sizes.depth, heads=sizes.heads, seconds=seconds)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.dim))
        self.pos_embed = frozen(self.position_table(self.dim)[None])
        self.pre_norm = LayerNorm(self.dim)
        self.blocks = nn.ModuleList(
            self.block(self.dim, self.heads, sizes.mlp_ratio, rate)
            for rate in drop_path_rates(sizes.drop_path, self.depth)
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Draw weights as pretraining does; the patch projection keeps PyTorch's default."""
        init_linear(self)
        nn.init.normal_(self.cls_token, std=0.02)

    def patch_positions(self) -> Tensor:
        return self.pos_embed

    def begin(self, tokens: Tensor) -> Tensor:
        return self.pre_norm(torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1))

    def pool(self, last: Tensor) -> Tensor:
        return last[:, 0]
