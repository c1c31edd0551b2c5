"""The attentive probe: one learned query looks at the patches, a linear layer at what it saw (birdmae.md 5.3)."""

from __future__ import annotations

import torch
from einops import rearrange
from timm.layers import LayerNorm
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from oscine.models.encoder import Encoder
from oscine.models.features import Features
from oscine.probe.probe import Needs, Probe


class AttentiveProbe(Probe):
    """Multi-head attention of one query over the last layer's patches, without output projection; norm; linear layer.

    The norm has no parameters: the paper keeps its scale and shift at 1 and 0, and the linear layer can express them.
    The paper's Bird-MAE hands over patches before the final norm, `Features` those after it.
    """

    needs = Needs(layers=[-1], parts=("patches",))

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__(encoder, classes)
        self.heads = encoder.heads
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, self.dim))
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.ln = LayerNorm(self.dim, affine=False)
        self.fc = nn.Linear(self.dim, classes)

    def forward(self, features: Features) -> Tensor:  # [batch, classes]
        self.check(features)
        patches = rearrange(features.patches[-1], "batch time freq dim -> batch (time freq) dim")
        query = self.query.expand(len(patches), -1, -1)
        query, key, value = (
            rearrange(tokens, "batch token (head dim) -> batch head token dim", head=self.heads)
            for tokens in (query, self.key(patches), self.value(patches))
        )
        seen = rearrange(scaled_dot_product_attention(query, key, value), "batch head 1 dim -> batch (head dim)")
        return self.fc(self.ln(seen))
