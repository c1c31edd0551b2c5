"""The MLP probe: a hidden layer on one vector a clip, or one a frame (arXiv 2504.12880)."""

from __future__ import annotations

from torch import nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.settings import MLPSettings

DEFAULTS = MLPSettings()


class MLPProbe(LinearProbe):
    """A linear probe whose linear layer is two of them with a ReLU between.

    encoder: what it is built for; classes: how many logits; the rest as in `MLPSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = DEFAULTS.pool,
        norm: str = DEFAULTS.norm,
        dropout: float = DEFAULTS.dropout,
        hidden: int = DEFAULTS.hidden,
    ) -> None:
        MLPSettings(pool, norm, dropout, hidden)  # refuses what cannot be
        super().__init__(encoder, classes, pool, norm, dropout)
        self.fc = nn.Sequential(nn.Linear(self.width(encoder), hidden), nn.ReLU(), nn.Linear(hidden, classes))
