"""SimPool: the mean patch asks all patches which of them count (arXiv 2309.06891)."""

from __future__ import annotations

from einops import einsum, rearrange
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.encoders.base.layers import LayerNorm
from oscine.probe.heads.probe import SETS, Needs, Probe
from oscine.probe.heads.settings import SimPoolSettings

DEFAULTS = SimPoolSettings()


class SimPoolProbe(Probe):
    """Attention of the mean of the last layer's patches over these, normed, which are their own values; linear layer.

    encoder: what it is built for; classes: how many logits; the rest as in `SimPoolSettings`.
    """

    needs = Needs(layers=[-1], parts=(Selection.PATCHES,))

    def __init__(self, encoder: Encoder, classes: int, pool: str = DEFAULTS.pool) -> None:
        super().__init__(encoder, classes)
        self.pool = SimPoolSettings(pool).pool
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.ln = LayerNorm(self.dim)
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = rearrange(prepared.patches[-1], SETS[self.pool])
        # The query is carried back through the key layer, as in the attentive probe: no keys are needed.
        asked = self.query(patches.mean(-2)) @ self.key.weight * self.dim**-0.5
        patches = self.ln(patches)
        attention = einsum(asked, patches, "... dim, ... patch dim -> ... patch").softmax(-1)
        return self.fc(einsum(attention, patches, "... patch, ... patch dim -> ... dim"))
