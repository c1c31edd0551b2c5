"""The attentive probe: one learned query looks at the patches, a linear layer at what it saw (arXiv 2504.12880)."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from oscine.models.compat import LayerNorm
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.probe.heads.probe import SETS, Needs, Probe
from oscine.probe.heads.settings import AttentiveSettings

DEFAULTS = AttentiveSettings()
USUAL_WIDTH = 64  # of a head, in vision transformers of every size


class AttentiveProbe(Probe):
    """Multi-head attention of one query over the last layer's patches, without output projection; norm; linear layer.

    The norm has no parameters: the paper keeps its scale and shift at 1 and 0, and the linear layer can express them.
    The paper's Bird-MAE hands over patches before the final norm, `Features` those after it.

    encoder: what it is built for; classes: how many logits; the rest as in `AttentiveSettings`.
    """

    needs = Needs(layers=[-1], parts=(Selection.PATCHES,))

    def __init__(self, encoder: Encoder, classes: int, pool: str = DEFAULTS.pool) -> None:
        super().__init__(encoder, classes)
        self.pool = AttentiveSettings(pool).pool
        self.heads = getattr(encoder, "heads", None) or usual_heads(encoder.dim)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, self.dim))
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.ln = LayerNorm(self.dim, affine=False)
        self.fc = nn.Linear(self.dim, classes)

    def logits(self, prepared: Features) -> Tensor:
        patches = rearrange(prepared.patches[-1], SETS[self.pool])
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


def usual_heads(dim: int) -> int:
    """How many heads attention of such a width has where the encoder has none to go by: about 64 numbers each."""
    return max(heads for heads in range(1, max(1, dim // USUAL_WIDTH) + 1) if dim % heads == 0)
