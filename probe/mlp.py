"""The MLP probe: a hidden layer on one vector a clip, or one a frame (arXiv 2504.12880)."""

from __future__ import annotations

from torch import nn

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.probe.linear import LinearProbe


class MLPProbe(LinearProbe):
    """A linear probe whose linear layer is two of them with a ReLU between.

    Args:
        encoder: what it is built for.
        classes: how many logits.
        pool, norm, dropout: as in `LinearProbe`; the paper reads the published model's own vector as it is.
        hidden: numbers between the two layers.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = "pooled",
        norm: str = "none",
        dropout: float = 0.0,
        hidden: int = 512,
    ) -> None:
        super().__init__(encoder, classes, pool, norm, dropout)
        if hidden < 1:
            raise OscineError(f"{hidden} hidden numbers; the probe needs at least 1, the paper has 512")
        self.fc = nn.Sequential(nn.Linear(self.width(encoder), hidden), nn.ReLU(), nn.Linear(hidden, classes))
