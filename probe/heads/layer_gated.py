"""The layer-gated linear probe: a linear layer on a learned mixture of all layers (arXiv 2602.16305)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.settings import LayerGatedSettings

DEFAULTS = LayerGatedSettings()


class LayerGatedProbe(LinearProbe):
    """A linear probe that reads every layer as it is and mixes them by a softmax gate, which starts even.

    encoder: what it is built for; classes: how many logits; the rest as in `LayerGatedSettings`.
    """

    pools = LayerGatedSettings.pools
    layers = None

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = DEFAULTS.pool,
        norm: str = DEFAULTS.norm,
        dropout: float = DEFAULTS.dropout,
    ) -> None:
        super().__init__(encoder, classes, pool, norm, dropout)
        self.block_attention = nn.Parameter(torch.zeros(self.depth))

    @property
    def gate(self) -> Tensor:  # [layer]
        """How much each layer counts; sums to 1."""
        return self.block_attention.softmax(0)

    def join(self, layers: Tensor) -> Tensor:
        return torch.tensordot(self.gate, layers, dims=1)
