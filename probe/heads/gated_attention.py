"""Gated-attention pooling: a small network weighs every patch by itself, then they are averaged (arXiv 1802.04712)."""

from __future__ import annotations

from einops import einsum, rearrange
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.probe.heads.probe import SETS, Needs, Probe
from oscine.probe.heads.settings import GatedAttentionSettings

DEFAULTS = GatedAttentionSettings()


class GatedAttentionProbe(Probe):
    """The last layer's patches, each weighed by a softmax of scores w . (tanh(V x) * sigmoid(U x)); linear layer.

    encoder: what it is built for; classes: how many logits; the rest as in `GatedAttentionSettings`.
    """

    needs = Needs(layers=[-1], parts=(Selection.PATCHES,))

    def __init__(self, encoder: Encoder, classes: int, pool: str = DEFAULTS.pool, gated: bool = DEFAULTS.gated) -> None:
        super().__init__(encoder, classes)
        self.pool = GatedAttentionSettings(pool, gated).pool
        self.hidden = nn.Linear(self.dim, self.dim)
        self.gate = nn.Linear(self.dim, self.dim) if gated else None
        self.score = nn.Linear(self.dim, 1, bias=False)  # a bias would move all scores alike
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = rearrange(prepared.patches[-1], SETS[self.pool])
        hidden = self.hidden(patches).tanh()
        if self.gate is not None:
            hidden = hidden * self.gate(patches).sigmoid()
        attention = self.score(hidden)[..., 0].softmax(-1)
        return self.fc(einsum(attention, patches, "... patch, ... patch dim -> ... dim"))
