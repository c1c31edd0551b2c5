"""Build decoders: insert mask tokens between the kept ones, compute attention at some places alone."""

from __future__ import annotations

from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import embedding, linear, scaled_dot_product_attention

from oscine.models.encoders.base.layers import numbered
from oscine.models.timm_parts import Attention


def insert_mask_tokens(
    tokens: Tensor, places: Tensor, mask_token: Tensor, positions: Tensor
) -> Tensor:  # [views, all, dim]
    """Put tokens [views, places, dim] at their places, the mask token elsewhere; add positions [1, all, dim] to all."""
    tokens = tokens + embedding(places, positions[0])
    empty = repeat(mask_token + positions, "1 all dim -> (view all) dim", view=len(places))
    filled = empty.index_copy_(0, numbered(places, positions.shape[1]), tokens.flatten(0, 1).to(empty.dtype))
    return rearrange(filled, "(view all) dim -> view all dim", view=len(places))


def attention_rows(attention: Attention, rows: Tensor, tokens: Tensor) -> Tensor:  # [views, rows, dim]
    """Compute timm's attention, gated or not, for rows [views, rows, dim] over all tokens [views, tokens, dim]."""
    dim = attention.attn_dim
    weight, bias = attention.qkv.weight.split([dim, 2 * dim]), attention.qkv.bias.split([dim, 2 * dim])
    queries = rearrange(
        linear(rows, weight[0], bias[0]), "view row (head dim) -> view head row dim", head=attention.num_heads
    )
    keys, values = rearrange(
        linear(tokens, weight[1], bias[1]),
        "view token (part head dim) -> part view head token dim",
        part=2,
        head=attention.num_heads,
    )
    heads = rearrange(scaled_dot_product_attention(queries, keys, values), "view head row dim -> view row (head dim)")
    return attention.proj(heads if attention.gate is None else heads * attention.gate(rows).sigmoid())
