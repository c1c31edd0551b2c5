"""Apply a linear layer, or two, to one vector a clip or a frame, of one layer or of all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.errors import OscineError
from oscine.models.timm_parts import LayerNorm
from oscine.probe.heads.probe import LayerGate, Needs, Probe
from oscine.probe.heads.settings import (
    Head2ToeSettings,
    LayerGatedSettings,
    LinearSettings,
    MLPSettings,
    VectorSettings,
    choose,
)


class Standardised(nn.BatchNorm1d):
    """Every number of the last axis to mean 0 and variance 1 over the clips: batch norm without weights of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6, affine=False)

    def forward(self, input: Tensor) -> Tensor:  # [..., dim]
        return super().forward(input.flatten(0, -2)).view_as(input)


NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": LayerNorm, "batch": Standardised, "none": nn.Identity}


class VectorProbe(Probe):
    """A linear layer on one vector a clip or a frame, joined of the layers that are read."""

    pools: ClassVar[Collection[str]] = VectorSettings.pools

    def __init__(self, encoder: Encoder, classes: int, pool: str, norm: str, dropout: float, layer: int | None) -> None:
        super().__init__(encoder, classes, layer)
        self.pool = choose(pool, self.pools)
        self.needs = Needs(self.layers, parts=(Selection.PATCHES if pool == Selection.FRAME_BANDS else pool,))
        width = self.width(encoder)
        self.ln = NORMS[choose(norm, NORMS)](width)
        self.drop = nn.Dropout(dropout)
        self.fc: nn.Module = nn.Linear(width, classes)

    def logits(self, prepared: Features) -> Tensor:
        return self.fc(self.drop(self.ln(self.join(prepared.select(self.pool)))))

    def join(self, layers: Tensor) -> Tensor:  # [batch, ..., width]
        """Make what is classified of the vectors of the layers that are read, [layer, batch, ..., numbers]."""
        return layers[-1]

    def width(self, encoder: Encoder) -> int:
        """Return how many numbers are classified."""
        return self.dim * encoder.grid[1] if self.pool in (Selection.BANDS, Selection.FRAME_BANDS) else self.dim


class LinearProbe(VectorProbe):
    """A linear layer on one layer's CLS, the mean of its patches, or their means over freq (both papers) or time.

    encoder: what it is built for; classes: how many logits; the rest as in `LinearSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = LinearSettings.pool,
        norm: str = LinearSettings.norm,
        dropout: float = LinearSettings.dropout,
        layer: int = LinearSettings.layer,
    ) -> None:
        if pool == Selection.POOLED and layer not in (-1, encoder.depth - 1):
            raise OscineError(f"pool pooled is of the last layer, not of {layer}; take cls or mean, or layer -1")
        super().__init__(encoder, classes, pool, norm, dropout, layer)


class MLPProbe(LinearProbe):
    """A linear probe whose linear layer is two of them with a ReLU between (arXiv 2504.12880).

    encoder: what it is built for; classes: how many logits; the rest as in `MLPSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = MLPSettings.pool,
        norm: str = MLPSettings.norm,
        dropout: float = MLPSettings.dropout,
        hidden: int = MLPSettings.hidden,
        layer: int = MLPSettings.layer,
    ) -> None:
        MLPSettings(pool, norm, dropout, hidden, layer=layer)  # refuses what cannot be
        super().__init__(encoder, classes, pool, norm, dropout, layer)
        self.fc = nn.Sequential(nn.Linear(self.width(encoder), hidden), nn.ReLU(), nn.Linear(hidden, classes))


class LayerGatedProbe(LayerGate, VectorProbe):
    """A linear probe that reads every layer and mixes them by a softmax gate, which starts even (arXiv 2602.16305).

    encoder: what it is built for; classes: how many logits; the rest as in `LayerGatedSettings`.
    """

    pools = LayerGatedSettings.pools

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = LayerGatedSettings.pool,
        norm: str = LayerGatedSettings.norm,
        dropout: float = LayerGatedSettings.dropout,
        layer: int | None = LayerGatedSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, pool, norm, dropout, layer)
        self.block_attention = nn.Parameter(torch.zeros(self.layers_read))

    def join(self, layers: Tensor) -> Tensor:
        return self.mix(layers)


class Head2ToeProbe(VectorProbe):
    """A linear probe on the vectors of every layer side by side, of which a group lasso chooses (arXiv 2201.03529).

    The loss grows with the length of each input's weights.

    encoder: what it is built for; classes: how many logits; the rest as in `Head2ToeSettings`.
    """

    pools = Head2ToeSettings.pools
    group_scale: Tensor

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = Head2ToeSettings.pool,
        norm: str = Head2ToeSettings.norm,
        dropout: float = Head2ToeSettings.dropout,
        lasso: float = Head2ToeSettings.lasso,
        layer: int | None = Head2ToeSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, pool, norm, dropout, layer)
        self.lasso = lasso
        self.register_buffer("group_scale", torch.tensor(float(classes)).sqrt())  # the published heads hold it

    def join(self, layers: Tensor) -> Tensor:
        return rearrange(layers, "layer batch ... dim -> batch ... (layer dim)")

    def width(self, encoder: Encoder) -> int:
        return self.layers_read * super().width(encoder)

    def penalty(self) -> Tensor:
        """Sum the lengths of the weights of each input; the root of a group's size evens out groups of different sizes."""
        return self.lasso * self.group_scale * self.get_parameter("fc.weight").norm(dim=0).sum()
