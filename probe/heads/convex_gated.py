"""Convex gated probing, CGP: compare a learnt mixture of all layers with prototypes (arXiv 2602.16305)."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.probe.heads.probe import LayerGate, Needs
from oscine.probe.heads.settings import ConvexGatedSettings
from oscine.probe.heads.similarity import PrototypeProbe, tiled_min_max


class ConvexGatedProbe(LayerGate, PrototypeProbe):
    """Every token at length 1, mixed over the layers by a softmax gate, compared with prototypes by cosine; linear layer.

    That layer reads three numbers a prototype, side by side: its least, middle and greatest similarity. Least and greatest
    are over the patches; the middle one is CLS's (pool "cls") or the mean over the patches ("mean"). With "frames" all
    three are over the freq of each time step, and logits are [batch, time, classes].

    encoder: what it is built for; classes: how many logits; the rest as in `ConvexGatedSettings`.
    """

    kinds = 3

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = ConvexGatedSettings.pool,
        prototypes: int = ConvexGatedSettings.prototypes,
        dropout: float = ConvexGatedSettings.dropout,
        layer: int | None = ConvexGatedSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, layer)
        self.pool = ConvexGatedSettings(pool, prototypes, dropout).pool
        with_cls = (Selection.CLS,) if pool == Selection.CLS else ()
        self.needs = Needs(self.layers, parts=(*with_cls, Selection.PATCHES))
        self.block_attention = nn.Parameter(torch.ones(self.layers_read))
        self.prototype_vectors = nn.Parameter(0.02 * torch.randn(prototypes, self.dim, 1, 1))
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(3 * prototypes, classes)

    def prepare(self, features: Features) -> Features:
        """Bring every token of every layer to length 1."""
        needed = self.needs.take(features)
        return needed._replace(cls=normalize(needed.cls, dim=-1), patches=normalize(needed.patches, dim=-1))

    def unit_prototypes(self) -> Tensor:
        return normalize(self.prototype_vectors.flatten(1), dim=1)

    def logits(self, prepared: Features) -> Tensor:
        prototypes = self.unit_prototypes()
        sets = self.patch_sets(self.compared(prepared))  # [batch, patch, dim], or [batch, time, freq, dim]
        # The mean similarity is the similarity of the mean: no pass over all patches and prototypes.
        middle = self.mix(prepared.cls) if self.pool == Selection.CLS else sets.mean(-2)
        least, greatest = tiled_min_max(sets.flatten(0, -3), prototypes).unflatten(1, sets.shape[:-2])
        parts = [least, linear(middle, prototypes), greatest]
        return self.fc(self.drop(rearrange(parts, "part ... prototype -> ... (prototype part)")))

    def compared(self, prepared: Features) -> Tensor:
        return self.mix(prepared.patches)  # of length 1 each; the mixture is not brought to length 1 again

    def middle_vectors(self, prepared: Features) -> Tensor:
        return self.mix(prepared.cls) if self.pool == Selection.CLS else self.compared(prepared).mean((1, 2))
