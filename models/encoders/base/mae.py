"""Build what Audio-MAE and Bird-MAE share: a masked autoencoder's encoder, for exactly one clip."""

from __future__ import annotations

from torch import Tensor, nn

from oscine.models.encoders.base.layers import BlockSizes, init_linear
from oscine.models.encoders.base.pre_norm import PreNormEncoder
from oscine.models.encoders.frontends.mel import Frontend
from oscine.models.timm_parts import LayerNorm


class MAE(PreNormEncoder):
    """The encoder of a masked autoencoder; its positions are fixed.

    In `Features` the last layer has passed the final norm; `pooled` is `fc_norm` of the mean raw patch token. So a loss of
    `pooled` alone gives `norm` no gradient, one of patches or CLS gives `fc_norm` none: DDP then wants what is not used
    frozen, or find_unused_parameters=True. In the other encoders of patches every parameter has a gradient under `pooled`.
    """

    def __init__(self, frontend: Frontend, seconds: float, sizes: BlockSizes) -> None:
        super().__init__(frontend, seconds, sizes)
        self.norm = LayerNorm(self.dim)
        self.fc_norm = LayerNorm(self.dim)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw weights as masked autoencoding does; the patch projection counts as a linear layer, bias apart."""
        init_linear(self)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(self.dim, -1))
        nn.init.normal_(self.cls_token, std=0.02)

    def finish(self, last: Tensor) -> Tensor:
        return self.norm(last)

    def pool(self, last: Tensor) -> Tensor:
        return self.fc_norm(last[:, 1:].mean(1))
