"""Gated-attention pooling: a small network weighs every patch by itself, then they are averaged (arXiv 1802.04712)."""

from __future__ import annotations

from einops import einsum, rearrange
from torch import Tensor, nn

from oscine.models.encoder import Encoder
from oscine.models.features import Features
from oscine.probe.probe import SETS, Needs, Probe, choose


class GatedAttentionProbe(Probe):
    """The last layer's patches, each weighed by a softmax of scores w . (tanh(V x) * sigmoid(U x)); linear layer.

    Args:
        encoder: what it is built for.
        classes: how many logits.
        pool: "clip", or "frames" for a softmax over the freq of each time step and logits [batch, time, classes].
        gated: false leaves the sigmoid out, as the ABMILP of arXiv 2509.24901 does.
    """

    needs = Needs(layers=[-1], parts=("patches",))

    def __init__(self, encoder: Encoder, classes: int, pool: str = "clip", gated: bool = True) -> None:
        super().__init__(encoder, classes)
        self.pool = choose(pool, SETS)
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
