"""Define BEATs' encoder: post-norm blocks, gated relative positions, any length at 16 kHz (arXiv 2212.09058)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from oscine.models.encoders.base.fairseq_layers import ConvPositions, SeparateAttention
from oscine.models.encoders.base.layers import BlockSizes, drop_path_rates, gather_patches, init_linear, run_blocks
from oscine.models.encoders.base.patch_encoder import ChunkedEncoder
from oscine.models.encoders.frontends.mel import PATCH, BEATsFrontend
from oscine.models.errors import OscineError
from oscine.models.timm_parts import DropPath


class BEATs(ChunkedEncoder):
    """Blocks on up to 64 x 8 patches, without a CLS token; longer sounds in chunks.

    What stands for CLS in `Features`, and is `pooled`, is the mean of a layer's tokens; of a chunk's, then over chunks.
    Positions come from a convolution over the sequence of tokens and from a bias on attention by distance in it. Dropped
    patches are zeros to the convolution and nothing to attention, as padding is to the authors' code; the others keep
    their places.

    patch_dim: width of a patch before its projection to `dim`. conv_width, conv_groups: of the convolution. buckets,
    max_distance: distances between tokens have one bias each up to a quarter of the buckets, then share them.
    """

    block_path = "encoder.layers"
    class_token = False

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        patch_dim: int = 512,
        conv_width: int = 128,
        conv_groups: int = 16,
        buckets: int = 320,
        max_distance: int = 800,
        sample_rate: int = 16_000,
        seconds: float = 10.23,
        mean: float = 15.41663,
        std: float = 6.55582,
    ) -> None:
        if dim % conv_groups:
            raise OscineError(f"dim={dim}, conv_groups={conv_groups}: dim must be a multiple of conv_groups")
        sizes = BlockSizes(dim, depth, heads, mlp_ratio, drop_path)
        frontend = BEATsFrontend(sample_rate, mean, std)
        super().__init__(frontend, dim=dim, depth=depth, heads=heads, seconds=seconds)
        self.patch_embedding = nn.Conv2d(1, patch_dim, PATCH, PATCH, bias=False)
        self.buckets = buckets
        self.max_distance = max_distance
        self.layer_norm = nn.LayerNorm(patch_dim)
        self.post_extract_proj = nn.Linear(patch_dim, dim)
        self.encoder = Transformer(sizes, conv_width=conv_width, conv_groups=conv_groups, buckets=buckets)
        self.init_weights()

    def add_patch_embedding(self) -> None:
        """It has one of its own, `patch_embedding`."""

    def init_weights(self) -> None:
        """Xavier-uniform, branches scaled down by depth as deep norm asks (arXiv 2203.00555)."""
        init_linear(self)
        nn.init.xavier_normal_(self.encoder.distances.weight)
        branches = ("v_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")
        with torch.no_grad():
            for name, weight in self.encoder.layers.named_parameters():
                if name.endswith(branches):
                    weight.mul_((8 * self.depth) ** -0.25)

    def embed(self, spectrogram: Tensor) -> Tensor:
        """Embed patches, time-major, without positions: these depend on which patches are kept."""
        self._check_spectrogram(spectrogram)
        image = rearrange(spectrogram, "batch frames mel -> batch 1 frames mel")
        patches = self.patch_embedding(image.to(self.patch_embedding.weight.dtype))
        return self.post_extract_proj(
            self.layer_norm(rearrange(patches, "batch dim time freq -> batch (time freq) dim"))
        )

    def block_outputs(self, patches: Tensor, keep: Tensor | None, wanted: Sequence[int]) -> list[Tensor]:
        bias = self.attention_bias(patches.shape[1])
        if keep is None:
            tokens = patches + self.encoder.pos_conv(patches)
        else:
            tokens = gather_patches(patches, keep)
            places = keep[..., None].expand_as(tokens)
            spread = tokens.new_zeros(tokens.shape[0], *patches.shape[1:]).scatter(1, places, tokens)
            tokens = tokens + self.encoder.pos_conv(spread).gather(1, places)
            bias = rearrange(
                bias[0, :, keep[:, :, None], keep[:, None, :]], "head view query key -> view head query key"
            )
        blocks = [partial(layer, bias=bias) for layer in self.encoder.layers]
        outputs = run_blocks(blocks, self.encoder.layer_norm(tokens), wanted, checkpointing=self.grad_checkpointing)
        return [torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1) for tokens in outputs]

    def attention_bias(self, tokens: int) -> Tensor:  # [1, head, query, key]
        """Return the bias of every layer, by the distance from a query to a key."""
        place = torch.arange(tokens, device=self.device)
        bucket = distance_bucket(place[None, :] - place[:, None], self.buckets, self.max_distance)
        return rearrange(self.encoder.distances(bucket), "query key head -> 1 head query key")

    def pool(self, last: Tensor) -> Tensor:
        return last[:, 0]


def distance_bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Signed distances to numbers of buckets: the first half for keys at or before the query, the second for later ones.

    Half of a sign's buckets hold one distance each; the others widen with the logarithm, up to `max_distance`.
    """
    half, exact = buckets // 2, buckets // 4
    steps = distance.abs()
    far = (steps.clamp(min=exact).float() / exact).log() / math.log(max_distance / exact) * (half - exact)
    bucket = torch.where(steps < exact, steps, exact + far.long()).clamp(max=half - 1)
    return bucket + half * (distance > 0)


class Transformer(nn.Module):
    """What the authors call `encoder`; it holds the parts, `BEATs` runs them."""

    def __init__(self, sizes: BlockSizes, *, conv_width: int, conv_groups: int, buckets: int) -> None:
        super().__init__()
        dim, depth, heads = sizes.dim, sizes.depth, sizes.heads
        self.pos_conv = nn.Sequential(ConvPositions(dim, conv_width, conv_groups), nn.GELU())
        self.layer_norm = nn.LayerNorm(dim)
        blocks = [
            DeepNormBlock(dim, heads, int(dim * sizes.mlp_ratio), rate, residual=(2 * depth) ** 0.25)
            for rate in drop_path_rates(sizes.drop_path, depth)
        ]
        blocks[0].self_attn.relative_attention_bias = nn.Embedding(buckets, heads)
        self.layers = nn.ModuleList(blocks)

    @property
    def distances(self) -> nn.Embedding:
        """The biases of all layers, one a bucket and head; the authors keep them in the first layer."""
        return cast(DeepNormBlock, self.layers[0]).self_attn.relative_attention_bias


class DeepNormBlock(nn.Module):
    """Attention, then an MLP, each normalised after its sum with the residual, which counts `residual` times."""

    def __init__(self, dim: int, heads: int, hidden: int, drop_path: float, residual: float) -> None:
        super().__init__()
        self.residual = residual
        self.self_attn = GatedBiasAttention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:  # [batch, tokens, dim]
        tokens = self.self_attn_layer_norm(tokens * self.residual + self.drop_path(self.self_attn(tokens, bias)))
        mlp = self.fc2(F.gelu(self.fc1(tokens)))
        return self.final_layer_norm(tokens * self.residual + self.drop_path(mlp))


class GatedBiasAttention(SeparateAttention):
    """Attention whose position bias every query weighs, head by head, before the softmax."""

    relative_attention_bias: nn.Embedding  # in the first layer alone

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.grep_linear = nn.Linear(dim // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def mask(self, query: Tensor, bias: Tensor) -> Tensor:  # [batch, head, query, key]
        return self.gate(query) * bias

    def gate(self, query: Tensor) -> Tensor:  # [batch, head, query, 1]
        """Return how much of the bias a query takes: WavLM's gated relative position bias (arXiv 2110.13900)."""
        sums = rearrange(self.grep_linear(query), "batch head query (gate four) -> gate batch head query four", gate=2)
        outer, inner = sums.sum(-1, keepdim=True).sigmoid()
        return outer * (inner * self.grep_a - 1) + 2
