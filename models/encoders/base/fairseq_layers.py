"""Define the parts that BEATs and HuBERT share, under the names that they have had since fairseq."""

from __future__ import annotations

import math

from einops import rearrange
from torch import Tensor, nn, randn, zeros
from torch.nn import functional as F


class ConvPositions(nn.Module):
    """A grouped convolution over the sequence of tokens, with weight norm over each tap of the kernel."""

    def __init__(self, dim: int, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_v = nn.Parameter(randn(dim, dim // groups, width) * math.sqrt(4 / (width * dim)))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(zeros(dim))

    def forward(self, tokens: Tensor) -> Tensor:  # [batch, tokens, dim]
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        width = weight.shape[2]
        sequence = rearrange(tokens, "batch token dim -> batch dim token")
        mixed = F.conv1d(sequence, weight, self.bias, padding=width // 2, groups=self.groups)
        # An even width gives one token more than came in: the last one is dropped.
        return rearrange(mixed[..., : tokens.shape[1]], "batch dim token -> batch token dim")


class SeparateAttention(nn.Module):
    """Attention whose queries, keys and values have a projection each."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:  # [batch, tokens, dim]
        query, key, value = (
            rearrange(project(tokens), "batch token (head part) -> batch head token part", head=self.heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = None if bias is None else self.mask(query, bias).to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(rearrange(mixed, "batch head token part -> batch token (head part)"))

    def mask(self, query: Tensor, bias: Tensor) -> Tensor:  # [batch, head, query, key]
        """Return what is added before the softmax: here the bias [batch or 1, head, query, key] itself."""
        return bias
