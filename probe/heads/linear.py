"""The plainest probe: a linear layer on one vector a clip, or one a frame."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar

from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.encoders.base.layers import LayerNorm
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.heads.settings import LinearSettings, choose

DEFAULTS = LinearSettings()


class Standardised(nn.BatchNorm1d):
    """Every number of the last axis to mean 0 and variance 1 over the clips: batch norm without weights of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6, affine=False)

    def forward(self, input: Tensor) -> Tensor:  # [..., dim]
        return super().forward(input.flatten(0, -2)).view_as(input)


NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": LayerNorm, "batch": Standardised, "none": nn.Identity}


class LinearProbe(Probe):
    """A linear layer on the last layer's CLS, the mean of its patches, or their means over freq (both papers) or time.

    encoder: what it is built for; classes: how many logits; the rest as in `LinearSettings`.
    """

    pools: ClassVar[Collection[str]] = LinearSettings.pools

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = DEFAULTS.pool,
        norm: str = DEFAULTS.norm,
        dropout: float = DEFAULTS.dropout,
    ) -> None:
        super().__init__(encoder, classes)
        self.pool = choose(pool, self.pools)
        self.needs = Needs(self.layers, parts=(Selection.PATCHES if pool == Selection.FRAME_BANDS else pool,))
        width = self.width(encoder)
        self.ln = NORMS[choose(norm, NORMS)](width)
        self.drop = nn.Dropout(dropout)
        self.fc: nn.Module = nn.Linear(width, classes)

    def logits(self, prepared: Features) -> Tensor:
        return self.fc(self.drop(self.ln(self.join(prepared.select(self.pool)))))

    def join(self, layers: Tensor) -> Tensor:  # [batch, ..., width]
        """What is classified, made of the vectors of the layers that are read, [layer, batch, ..., numbers]."""
        return layers[-1]

    def width(self, encoder: Encoder) -> int:
        """Of what is classified."""
        return self.dim * encoder.grid[1] if self.pool in (Selection.BANDS, Selection.FRAME_BANDS) else self.dim
