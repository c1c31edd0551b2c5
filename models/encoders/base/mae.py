"""Build what Audio-MAE and Bird-MAE share: a masked autoencoder's encoder, for exactly one clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.layers import BlockSizes, drop_path_rates, frozen, init_linear, sincos_positions
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.models.encoders.frontends.mel import Frontend
from oscine.models.errors import OscineError
from oscine.models.timm_parts import Block, LayerNorm


class MAE(PatchEncoder):
    """The encoder of a masked autoencoder: pre-norm blocks on CLS and the patches of exactly one clip.

    In `Features` the last layer has passed the final norm; `pooled` is `fc_norm` of the mean raw patch token.
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
        self.norm = LayerNorm(self.dim)
        self.fc_norm = LayerNorm(self.dim)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw weights as masked autoencoding does; the patch projection counts as a linear layer, bias apart."""
        init_linear(self)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(self.dim, -1))
        nn.init.normal_(self.cls_token, std=0.02)

    def position_table(self, dim: int) -> Tensor:
        return sincos_positions(self.grid, dim)

    def patch_positions(self) -> Tensor:
        return self.pos_embed[:, 1:]

    def begin(self, tokens: Tensor) -> Tensor:
        cls = self.cls_token + self.pos_embed[:, :1]
        return torch.cat([cls.expand(len(tokens), -1, -1), tokens], dim=1)

    def finish(self, last: Tensor) -> Tensor:
        return self.norm(last)

    def pool(self, last: Tensor) -> Tensor:
        return self.fc_norm(last[:, 1:].mean(1))

    def _check_spectrogram(self, spectrogram: Tensor) -> None:
        super()._check_spectrogram(spectrogram)
        frames = self.frontend.frames(self.samples)
        if spectrogram.shape[1] != frames:
            raise OscineError(
                f"{type(self).__name__}'s positions fit {frames} frames ({self.seconds:g} s), not {spectrogram.shape[1]}; "
                f"split_clips(waveform, {self.samples}) cuts a longer recording, the frontend fills up a shorter one"
            )
