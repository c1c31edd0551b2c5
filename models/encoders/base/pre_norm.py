"""Build what Audio-MAE, Bird-MAE and AudioMosaic share: pre-norm blocks on CLS and the patches of exactly one clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.layers import BlockSizes, drop_path_rates, frozen, sincos_positions
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.models.encoders.frontends.mel import Frontend
from oscine.models.errors import OscineError
from oscine.models.timm_parts import Block, LayerNorm


class PreNormEncoder(PatchEncoder):
    """Pre-norm blocks on CLS and patches, with a position for each of one clip's; CLS has the first, zeros.

    A subclass adds its norms, draws its weights, and says what `pool` is.
    """

    def __init__(self, frontend: Frontend, seconds: float, sizes: BlockSizes) -> None:
        super().__init__(frontend, dim=sizes.dim, depth=sizes.depth, heads=sizes.heads, seconds=seconds)
        no_position = torch.zeros(1, self.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.dim))
        self.pos_embed = frozen(torch.cat([no_position, self.position_table(self.dim)])[None])
        self.blocks = nn.ModuleList(
            Block(self.dim, self.heads, sizes.mlp_ratio, qkv_bias=True, drop_path=rate, norm_layer=LayerNorm)
            for rate in drop_path_rates(sizes.drop_path, self.depth)
        )

    def position_table(self, dim: int) -> Tensor:
        return sincos_positions(self.grid, dim)

    def patch_positions(self) -> Tensor:
        return self.pos_embed[:, 1:]

    def begin(self, tokens: Tensor) -> Tensor:
        cls = self.cls_token + self.pos_embed[:, :1]
        return torch.cat([cls.expand(tokens.shape[0], -1, -1), tokens], dim=1)

    def _check_spectrogram(self, spectrogram: Tensor) -> None:
        super()._check_spectrogram(spectrogram)
        frames = self.frontend.frames(self.samples)
        if spectrogram.shape[1] != frames:
            raise OscineError(
                f"{type(self).__name__}'s positions fit {frames} frames ({self.seconds:g} s), not {spectrogram.shape[1]}; "
                f"split_clips(waveform, {self.samples}) cuts a longer recording, the frontend fills up a shorter one"
            )
