"""Tokens at some places of every clip: taken out, put in, and attention that is asked for them alone."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from timm.layers import Attention
from torch import Tensor
from torch.nn.functional import embedding, linear, scaled_dot_product_attention


def take(tokens: Tensor, places: Tensor) -> Tensor:  # [views, places, dim]
    """The tokens at the places of every view. tokens [clips, patches, dim]; places [views, places], clip-major."""
    rows = numbered(places, tokens.shape[1], len(places) // len(tokens))
    return tokens.flatten(0, 1).index_select(0, rows).view(*places.shape, -1)


def fill_in(tokens: Tensor, places: Tensor, mask_token: Tensor, positions: Tensor) -> Tensor:  # [views, all, dim]
    """Tokens [views, places, dim] at their places, the mask token everywhere else, positions [1, all, dim] added to all."""
    tokens = tokens + embedding(places, positions[0])
    empty = repeat(mask_token + positions, "1 all dim -> (view all) dim", view=len(places))
    filled = empty.index_copy_(0, numbered(places, positions.shape[1]), tokens.flatten(0, 1).to(empty.dtype))
    return rearrange(filled, "(view all) dim -> view all dim", view=len(places))


def attend(attention: Attention, rows: Tensor, tokens: Tensor) -> Tensor:  # [views, rows, dim]
    """What timm's attention, gated or not, gives these rows [views, rows, dim] of all the tokens [views, tokens, dim]."""
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


def numbered(places: Tensor, patches: int, views: int = 1) -> Tensor:
    """Places [views, places] as row numbers in what has so many patches a clip, one clip after the other."""
    first = patches * (torch.arange(len(places), device=places.device) // views)
    return (places + first[:, None]).flatten()
