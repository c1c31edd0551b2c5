"""Define the parts that encoders and recipes' decoders are built of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from oscine.models.encoders.frontends.mel import PATCH
from oscine.models.timm_parts import Attention, DropPath, LayerNorm, Mlp

CHUNK = 64 * PATCH  # frames that an encoder of chunks sees at once: 10.24 s at a hop of 10 ms


class BlockSizes(NamedTuple):
    """Sizes of an encoder's transformer blocks, and their number."""

    dim: int
    depth: int
    heads: int
    mlp_ratio: float
    drop_path: float  # the rate of the last block


def sincos_positions(grid: tuple[int, int], dim: int) -> Tensor:  # [time * freq, dim]
    """Return the fixed sine-cosine table of Bird-MAE and BAT, float32, in token order (time-major).

    A quirk that the published weights were trained with, and that must stay: the table is computed for an image of `freq`
    rows and `time` columns, but added to tokens that run time-major. Token (t, f), number n = t * freq + f, is therefore
    coded as column n mod time and row n div time. Every token still gets a code of its own.
    """
    time, freq = grid
    token = torch.arange(time * freq)
    frequencies = 1 / 10000 ** (torch.arange(dim // 4, dtype=torch.float32) / (dim / 4))
    column = torch.outer((token % time).float(), frequencies)
    row = torch.outer((token // time).float(), frequencies)
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1)


def frozen(table: Tensor) -> nn.Parameter:
    """Make a table [...] a parameter that is stored with the weights but never trained."""
    return nn.Parameter(table, requires_grad=False)


def gather_patches(tokens: Tensor, places: Tensor) -> Tensor:  # [batch * views, places, dim]
    """Gather some patches of every view. tokens [batch, patches, dim]; places [batch * views, places], clip-major.

    Views of one clip read the same embedded tokens, so a clip is embedded once however often it is masked.
    """
    rows = numbered(places, tokens.shape[1], len(places) // len(tokens))
    return tokens.flatten(0, 1).index_select(0, rows).view(*places.shape, -1)


def numbered(places: Tensor, patches: int, views: int = 1) -> Tensor:
    """Turn places [batch * views, places] into row numbers [...] of all clips' patches, one clip after the other."""
    first = patches * (torch.arange(len(places), device=places.device) // views)
    return (places + first[:, None]).flatten()


def run_blocks(
    blocks: Iterable[Callable[[Tensor], Tensor]], tokens: Tensor, wanted: Sequence[int], *, checkpointing: bool = False
) -> list[Tensor]:
    """Run blocks and return the outputs of the wanted ones, in that order; later blocks are not computed.

    checkpointing: keep no activations inside a block; the backward pass computes them once more.
    """
    outputs = {}
    for layer, block in zip(range(max(wanted) + 1), blocks):
        tokens = checkpoint(block, tokens, use_reentrant=False) if checkpointing else block(tokens)
        if layer in wanted:
            outputs[layer] = tokens
    return [outputs[layer] for layer in wanted]


def join_chunks(chunks: Tensor, rest: Tensor | None = None) -> Tensor:  # [batch, 1 + patches, dim]
    """Join chunks [batch, chunk, 1 + patches, dim], and a shorter last one [batch, 1 + patches, dim], in time."""
    cls = chunks[:, :, 0]
    patches = rearrange(chunks[:, :, 1:], "batch chunk patch dim -> batch (chunk patch) dim")
    if rest is not None:
        cls = torch.cat([cls, rest[:, :1]], dim=1)
        patches = torch.cat([patches, rest[:, 1:]], dim=1)
    return torch.cat([cls.mean(1, keepdim=True), patches], dim=1)


class PostNormBlock(nn.Module):
    """EAT's transformer block: attention, then an MLP, each normalised after its residual sum."""

    gated = False

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.attn = Attention(dim, num_heads=heads, qkv_bias=True, gated=self.gated)
        self.norm1 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.norm2 = LayerNorm(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:  # [batch, tokens, dim]
        tokens = self.norm1(tokens + self.drop_path(self.attn(tokens)))
        return self.norm2(tokens + self.drop_path(self.mlp(tokens)))


class GatedPostNormBlock(PostNormBlock):
    """BAT's transformer block: its attention is gated.

    The gate is elementwise: the concatenated heads times sigmoid(W x + b), x being the block's input.
    """

    gated = True


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Return rates of stochastic depth, linear from 0 at the first block to `rate` at the last."""
    return torch.linspace(0, rate, depth, device="cpu").tolist()  # numbers, also where tensors are built without data


def init_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear layer inside; qkv counts as one matrix."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
