"""Bird-MAE's encoder: a plain vision transformer over 5 s of birds at 32 kHz (arXiv 2504.12880)."""

from __future__ import annotations

import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.frontend import BirdMAEFrontend
from oscine.models.layers import drop_path_rates, frozen, init_linear, sincos_positions


class BirdMAE(Encoder):
    """Pre-norm blocks on 32 x 8 patches and CLS; clips are exactly `seconds` long, shorter ones are filled with silence.

    In `Features` the last layer has passed the final norm; `pooled` is `fc_norm` of the mean raw patch token, which is what
    the published model returns.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 32_000,
        seconds: float = 5.0,
        mean: float = -7.2,
        std: float = 4.43,
    ) -> None:
        config = {
            "dim": dim, "depth": depth, "heads": heads, "mlp_ratio": mlp_ratio, "drop_path": drop_path,
            "sample_rate": sample_rate, "seconds": seconds, "mean": mean, "std": std,
        }  # fmt: skip
        super().__init__(config, BirdMAEFrontend(sample_rate, round(seconds * sample_rate), mean, std))
        no_position = torch.zeros(1, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = frozen(torch.cat([no_position, self.position_table(dim)])[None])
        self.blocks = nn.ModuleList(
            Block(dim, heads, mlp_ratio, qkv_bias=True, drop_path=rate, norm_layer=LayerNorm)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = LayerNorm(dim)
        self.fc_norm = LayerNorm(dim)
        self.init_weights()

    def init_weights(self) -> None:
        """As masked autoencoding starts; the patch projection counts as a linear layer, bias apart."""
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
                f"Bird-MAE's positions fit {frames} frames ({self.seconds:g} s), not {spectrogram.shape[1]}; "
                f"split_clips(waveform, {self.samples}) cuts a longer recording, the frontend fills up a shorter one"
            )
