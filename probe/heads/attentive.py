"""Pool patches by attention, in five ways, before a linear layer."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.models.timm_parts import LayerNorm
from oscine.probe.heads.probe import LayerGate, PatchProbe
from oscine.probe.heads.settings import (
    AttentiveSettings,
    EfficientSettings,
    GatedAttentionSettings,
    MultiLayerAttentionSettings,
    SimPoolSettings,
)

USUAL_WIDTH = 64  # of a head, in vision transformers of every size


class AttentiveProbe(PatchProbe):
    """Multi-head attention of one learnt query over one layer's patches; norm; linear layer (arXiv 2504.12880).

    There is no output projection. The norm has no parameters: the paper keeps its scale and shift at 1 and 0, and the linear
    layer can express them. The paper's Bird-MAE hands over patches before the final norm, `Features` those after it.

    encoder: what it is built for; classes: how many logits; the rest as in `AttentiveSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = AttentiveSettings.pool,
        layer: int = AttentiveSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, layer)
        self.pool = AttentiveSettings(pool).pool
        self.heads = getattr(encoder, "heads", None) or usual_heads(encoder.dim)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, self.dim))
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.ln = LayerNorm(self.dim, affine=False)
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = self.patch_sets(prepared.patches[-1])
        query = rearrange(self.query, "1 1 (head part) -> head part", head=self.heads)
        key, value = (
            rearrange(layer.weight, "(head part) dim -> head part dim", head=self.heads)
            for layer in (self.key, self.value)
        )
        # With one query neither keys nor values of the patches are needed: the query is carried back through the key layer,
        # and the value layer is applied to what the attention has summed. The same numbers at a fraction of the work.
        asked = einsum(query, key, "head part, head part dim -> head dim") * query.shape[1] ** -0.5
        attention = einsum(asked, patches, "head dim, ... patch dim -> ... head patch").softmax(-1)
        seen = einsum(attention @ patches, value, "... head dim, head part dim -> ... head part")
        return self.fc(self.ln(seen.flatten(-2)))


class MultiLayerAttentionProbe(LayerGate, PatchProbe):
    """In every layer a learnt query attends to the patches; a gate averages the layers; norm; linear layer.

    Attention is softmax(query . patch / sqrt(dim)): a query of its own in each layer needs no key layer, which it could be
    carried back through. Ours, after the idea of arXiv 2605.10494, not that paper's head.

    encoder: what it is built for; classes: how many logits; the rest as in `MultiLayerAttentionSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = MultiLayerAttentionSettings.pool,
        layer: int | None = MultiLayerAttentionSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, layer)
        self.pool = MultiLayerAttentionSettings(pool).pool
        self.query = nn.Parameter(0.02 * torch.randn(self.layers_read, self.dim))
        self.block_attention = nn.Parameter(torch.zeros(self.layers_read))
        self.ln = LayerNorm(self.dim)
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        vectors = [self.attend(query, patches) for query, patches in zip(self.query, prepared.patches, strict=True)]
        return self.fc(self.ln(self.mix(torch.stack(vectors))))

    def attend(self, query: Tensor, patches: Tensor) -> Tensor:  # [batch, dim], frame-wise [batch, time, dim]
        """Average one layer's patches [batch, time, freq, dim] by their softmax with its query [dim]."""
        sets = self.patch_sets(patches)
        attention = (sets @ query * self.dim**-0.5).softmax(-1)
        return einsum(attention, sets, "... patch, ... patch dim -> ... dim")


def usual_heads(dim: int) -> int:
    """Return how many heads attention of a width has where the encoder does not say: about 64 numbers each."""
    return max(heads for heads in range(1, max(1, dim // USUAL_WIDTH) + 1) if dim % heads == 0)


class EfficientProbe(PatchProbe):
    """Attention of several learnt queries over one layer's patches, which are their own keys (arXiv 2506.10178).

    Each query gives an equal share of the values that the linear layer reads.

    encoder: what it is built for; classes: how many logits; the rest as in `EfficientSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = EfficientSettings.pool,
        queries: int = EfficientSettings.queries,
        layer: int = EfficientSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, layer)
        if queries < 1 or self.dim % queries:
            raise OscineError(f"{queries} queries share {self.dim} values; choose at least 1, a divisor of {self.dim}")
        self.pool = EfficientSettings(pool, queries).pool
        self.query = nn.Parameter(0.02 * torch.randn(1, queries, self.dim))
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = self.patch_sets(prepared.patches[-1])
        query = self.query[0] * self.dim**-0.5
        attention = einsum(query, patches, "query dim, ... patch dim -> ... query patch").softmax(-1)
        # Values of sums instead of sums of values: the same, with a value layer that sees one vector a query.
        value = rearrange(self.value.weight, "(query part) dim -> query part dim", query=len(query))
        seen = einsum(attention @ patches, value, "... query dim, query part dim -> ... query part")
        return self.fc(seen.flatten(-2))


class SimPoolProbe(PatchProbe):
    """Attention of the mean of one layer's patches over these, normed, which are their own values (arXiv 2309.06891).

    encoder: what it is built for; classes: how many logits; the rest as in `SimPoolSettings`.
    """

    def __init__(
        self, encoder: Encoder, classes: int, pool: str = SimPoolSettings.pool, layer: int = SimPoolSettings.layer
    ) -> None:
        super().__init__(encoder, classes, layer)
        self.pool = SimPoolSettings(pool).pool
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.ln = LayerNorm(self.dim)
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = self.patch_sets(prepared.patches[-1])
        # The query is carried back through the key layer, as in the attentive probe: no keys are needed.
        asked = self.query(patches.mean(-2)) @ self.key.weight * self.dim**-0.5
        patches = self.ln(patches)
        attention = einsum(asked, patches, "... dim, ... patch dim -> ... patch").softmax(-1)
        return self.fc(einsum(attention, patches, "... patch, ... patch dim -> ... dim"))


class GatedAttentionProbe(PatchProbe):
    """One layer's patches, weighed by a softmax of w . (tanh(V x) * sigmoid(U x)) of each (arXiv 1802.04712).

    encoder: what it is built for; classes: how many logits; the rest as in `GatedAttentionSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = GatedAttentionSettings.pool,
        gated: bool = GatedAttentionSettings.gated,
        layer: int = GatedAttentionSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, layer)
        self.pool = GatedAttentionSettings(pool, gated).pool
        self.hidden = nn.Linear(self.dim, self.dim)
        self.gate = nn.Linear(self.dim, self.dim) if gated else None
        self.score = nn.Linear(self.dim, 1, bias=False)  # a bias would move all scores alike
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = self.patch_sets(prepared.patches[-1])
        hidden = self.hidden(patches).tanh()
        if self.gate is not None:
            hidden = hidden * self.gate(patches).sigmoid()
        attention = self.score(hidden)[..., 0].softmax(-1)
        return self.fc(einsum(attention, patches, "... patch, ... patch dim -> ... dim"))
