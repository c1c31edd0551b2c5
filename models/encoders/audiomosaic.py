"""Define AudioMosaic's encoder: patches normed before positions, 10 s at 16 kHz (arXiv 2605.14231)."""

from __future__ import annotations

from torch import Tensor, nn

from oscine.models.encoders.base.layers import BlockSizes
from oscine.models.encoders.base.pre_norm import PreNormEncoder
from oscine.models.encoders.frontends.mel import PATCH, AudioMAEFrontend
from oscine.models.timm_parts import LayerNorm, PatchEmbed


class AudioMosaic(PreNormEncoder):
    """Pre-norm blocks on 64 x 8 patches and CLS, on Audio-MAE's spectrogram; a clip of up to 10 s becomes `frames`.

    Patches are normed before they get their positions, which are trained, and all tokens before the first block; after the
    last block nothing is. `pooled` is `fc_norm` of the mean of all tokens, CLS included.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 16_000,
        seconds: float = 10.0,
        frames: int = 1024,
        mean: float = -4.2677393,
        std: float = 4.5689974,
    ) -> None:
        sizes = BlockSizes(dim, depth, heads, mlp_ratio, drop_path)
        super().__init__(AudioMAEFrontend(sample_rate, frames, mean, std), seconds, sizes)
        self.pos_embed.requires_grad_(True)  # the table of sines is where they start
        self.norm_pre = LayerNorm(dim)
        self.fc_norm = LayerNorm(dim)
        self.init_weights()

    def add_patch_embedding(self) -> None:
        self.patch_embed = PatchEmbed(
            img_size=None, patch_size=PATCH, in_chans=1, embed_dim=self.dim, norm_layer=LayerNorm
        )

    def init_weights(self) -> None:
        """Draw weights as the authors do: normal, cut at two units, whatever the layer's size."""
        for layer in self.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.cls_token, std=1e-6)

    def begin(self, tokens: Tensor) -> Tensor:
        return self.norm_pre(super().begin(tokens))

    def pool(self, last: Tensor) -> Tensor:
        return self.fc_norm(last.mean(1))
