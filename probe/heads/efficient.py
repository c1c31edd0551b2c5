"""Efficient probing: learned queries look at the patches themselves, each at its share of the values (arXiv 2506.10178)."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.errors import OscineError
from oscine.probe.heads.probe import SETS, Needs, Probe
from oscine.probe.heads.settings import EfficientSettings

DEFAULTS = EfficientSettings()


class EfficientProbe(Probe):
    """Attention of several queries over the last layer's patches, which are their own keys; linear layer.

    encoder: what it is built for; classes: how many logits; the rest as in `EfficientSettings`.
    """

    needs = Needs(layers=[-1], parts=(Selection.PATCHES,))

    def __init__(
        self, encoder: Encoder, classes: int, pool: str = DEFAULTS.pool, queries: int = DEFAULTS.queries
    ) -> None:
        super().__init__(encoder, classes)
        if queries < 1 or self.dim % queries:
            raise OscineError(f"{queries} queries share {self.dim} values; choose at least 1, a divisor of {self.dim}")
        self.pool = EfficientSettings(pool, queries).pool
        self.query = nn.Parameter(0.02 * torch.randn(1, queries, self.dim))
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = rearrange(prepared.patches[-1], SETS[self.pool])
        query = self.query[0] * self.dim**-0.5
        attention = einsum(query, patches, "query dim, ... patch dim -> ... query patch").softmax(-1)
        # Values of sums instead of sums of values: the same, with a value layer that sees one vector a query.
        value = rearrange(self.value.weight, "(query part) dim -> query part dim", query=len(query))
        seen = einsum(attention @ patches, value, "... query dim, query part dim -> ... query part")
        return self.fc(seen.flatten(-2))
