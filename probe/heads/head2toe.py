"""Head2Toe: a linear layer on all layers side by side, of which a group lasso chooses (arXiv 2201.03529)."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.settings import Head2ToeSettings

DEFAULTS = Head2ToeSettings()


class Head2ToeProbe(LinearProbe):
    """A linear probe on the vectors of every layer side by side; the loss grows with the length of each input's weights.

    encoder: what it is built for; classes: how many logits; the rest as in `Head2ToeSettings`.
    """

    pools = Head2ToeSettings.pools
    layers = None
    group_scale: Tensor

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = DEFAULTS.pool,
        norm: str = DEFAULTS.norm,
        dropout: float = DEFAULTS.dropout,
        lasso: float = DEFAULTS.lasso,
    ) -> None:
        super().__init__(encoder, classes, pool, norm, dropout)
        self.lasso = lasso
        self.register_buffer("group_scale", torch.tensor(float(classes)).sqrt())  # the published heads hold it

    def join(self, layers: Tensor) -> Tensor:
        return rearrange(layers, "layer batch ... dim -> batch ... (layer dim)")

    def width(self, encoder: Encoder) -> int:
        return self.depth * super().width(encoder)

    def penalty(self) -> Tensor:
        """A group is the weights of one input; the root of a group's size evens out groups of different sizes."""
        return self.lasso * self.group_scale * self.get_parameter("fc.weight").norm(dim=0).sum()
