"""Define HuBERT's, wav2vec 2.0's and AVES's encoder: convolutions on the waveform, then a transformer (arXiv 2106.07447)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fairseq_layers import ConvPositions, SeparateAttention
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.base.layers import BlockSizes, drop_path_rates, init_linear, run_blocks
from oscine.models.errors import OscineError
from oscine.models.timm_parts import DropPath

CONVOLUTIONS = (
    (10, 5),
    (3, 2),
    (3, 2),
    (3, 2),
    (3, 2),
    (2, 2),
    (2, 2),
)  # kernel and stride of each, in samples or frames
WINDOW, HOP = 400, 320  # samples that a frame hears, and from one to the next: what these come to

logger = logging.getLogger(__name__)


class Wav2Vec2(Encoder):
    """Seven convolutions on the waveform, 50 frames a second, and blocks on frames, without CLS; any length.

    A clip's features depend on its whole length: norms and positions reach over it. Filling up with silence therefore
    moves all of its frames, which is logged; batches hold clips of one length.

    conv_dim: channels of the convolutions. conv_width, conv_groups: of the convolution that gives positions. pre_norm: the
    variant of HuBERT large and wav2vec 2.0 lv60, which norms before attention and MLP, and every convolution over its
    channels; its last layer has passed the final norm. The other one, AVES's too, norms behind them, and only the first
    convolution, over time. normalise: clips are brought to mean 0 and variance 1 first, `do_normalize` on the Hub.
    """

    block_path = "encoder.layers"
    any_length = True
    class_token = False
    grad_checkpointing = False

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        conv_dim: int = 512,
        conv_width: int = 128,
        conv_groups: int = 16,
        pre_norm: bool = False,
        normalise: bool = False,
        sample_rate: int = 16_000,
        seconds: float = 5.0,
    ) -> None:
        if heads < 1 or dim % heads or dim % conv_groups:
            raise OscineError(
                f"dim={dim}, heads={heads}, conv_groups={conv_groups}: dim must be a multiple of heads and of conv_groups"
            )
        super().__init__(
            dim=dim,
            depth=depth,
            sample_rate=sample_rate,
            seconds=seconds,
            grid=(self.steps(round(seconds * sample_rate)), 1),
            step_seconds=HOP / sample_rate,
        )
        self.heads, self.normalise = heads, normalise
        sizes = BlockSizes(dim, depth, heads, mlp_ratio, drop_path)
        self.feature_extractor = FeatureExtractor(conv_dim, pre_norm)
        self.feature_projection = FeatureProjection(conv_dim, dim)
        self.encoder = Transformer(sizes, ConvPositions(dim, conv_width, conv_groups), pre_norm)
        init_linear(self)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    def layer_of(self, parameter: str) -> int:
        behind = self.encoder.pre_norm and parameter.startswith("encoder.layer_norm.")
        return self.decay_layers + 1 if behind else super().layer_of(parameter)

    def steps(self, samples: int) -> int:
        return 1 + (max(samples, WINDOW) - WINDOW) // HOP

    def prepare(self, waveform: Tensor) -> Tensor:  # [batch, samples]
        """Scale clips, if they are to be; those too short for a frame are then filled up with silence to one."""
        return F.pad(self.scaled(waveform.float()), (0, max(0, WINDOW - waveform.shape[1])))

    def prepare_clips(self, clips: Sequence[Tensor], samples: int | None = None) -> Tensor:  # [clip, samples]
        """Scale clips, [samples] each, by what they hold, then fill shorter ones up with silence."""
        whole = max(samples or self.samples, WINDOW)
        if any(len(clip) < whole for clip in clips):
            say_filled_up(self.called, whole / self.sample_rate)
        scaled = [self.scaled(clip[None].float())[0] for clip in clips]
        return self.on_device(torch.stack([F.pad(clip, (0, max(0, whole - len(clip)))) for clip in scaled]))

    def scaled(self, waveform: Tensor) -> Tensor:  # [batch, samples]
        """Bring each clip to mean 0 and variance 1 where the weights were trained so; silence stays silence."""
        if not self.normalise:
            return waveform
        centred = waveform - waveform.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        """Compute features of scaled waveforms [batch, samples]; patches are frames, [layer, batch, time, 1, dim]."""
        wanted = self.layer_numbers(layers)
        weight = self.feature_projection.projection.weight
        frames = self.feature_projection(self.feature_extractor(input.to(weight.dtype)))
        *outputs, last = self.encoder(frames, [*wanted, self.depth - 1], checkpointing=self.grad_checkpointing)
        return Features.of_patches([tokens[:, :, None] for tokens in outputs], last.mean(1))


@cache
def say_filled_up(encoder: str, seconds: float) -> None:
    """Say, once for every length, that clips are filled up with silence, which such an encoder hears in all of a clip.

    Of shorter ones `create_model(NAME, pretrained=True, seconds=N)` makes no less: `save_pretrained` keeps it for a command.
    """
    logger.warning(
        "clips shorter than %g s are filled up with silence, which changes all of their frames in %s; where many are: "
        "oscine probe --seconds N, oscine embed --shortest 0.99",
        seconds,
        encoder,
    )


class FeatureExtractor(nn.Module):
    """Waveform [batch, samples] to frames [batch, time, conv_dim]."""

    def __init__(self, conv_dim: int, pre_norm: bool) -> None:
        super().__init__()
        layers = []
        for number, (kernel, stride) in enumerate(CONVOLUTIONS):
            conv = nn.Conv1d(conv_dim if number else 1, conv_dim, kernel, stride, bias=pre_norm)
            nn.init.kaiming_normal_(conv.weight)
            over_time = nn.Identity() if number else nn.GroupNorm(conv_dim, conv_dim)
            layers.append(ConvLayer(conv, ChannelNorm(conv_dim) if pre_norm else over_time))
        self.conv_layers = nn.ModuleList(layers)

    def forward(self, waveform: Tensor) -> Tensor:
        frames = waveform[:, None]
        for layer in self.conv_layers:
            frames = layer(frames)
        return frames.transpose(1, 2)


class ConvLayer(nn.Module):
    """A convolution over time, its norm if it has one, and GELU."""

    def __init__(self, conv: nn.Conv1d, layer_norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.layer_norm = layer_norm

    def forward(self, frames: Tensor) -> Tensor:  # [batch, channel, time]
        return F.gelu(self.layer_norm(self.conv(frames)))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [batch, channel, time]."""

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames.transpose(1, 2)).transpose(1, 2)


class FeatureProjection(nn.Module):
    """Frames of the convolutions [batch, time, conv_dim] to tokens [batch, time, dim]."""

    def __init__(self, conv_dim: int, dim: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(conv_dim)
        self.projection = nn.Linear(conv_dim, dim)

    def forward(self, frames: Tensor) -> Tensor:
        return self.projection(self.layer_norm(frames))


class Transformer(nn.Module):
    """Positions, blocks, and a norm before the first block, or behind the last one in the variant of pre-norm blocks."""

    def __init__(self, sizes: BlockSizes, positions: ConvPositions, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.pos_conv_embed = nn.ModuleDict({"conv": positions})
        self.layer_norm = nn.LayerNorm(sizes.dim)
        kind = PreNormWav2Vec2Block if pre_norm else Wav2Vec2Block
        self.layers = nn.ModuleList(kind(sizes, rate) for rate in drop_path_rates(sizes.drop_path, sizes.depth))

    def forward(self, tokens: Tensor, wanted: Sequence[int], *, checkpointing: bool = False) -> list[Tensor]:
        """Return outputs of the wanted blocks, [batch, time, dim] each; `run_blocks` says what checkpointing is."""
        tokens = tokens + F.gelu(self.pos_conv_embed["conv"](tokens))
        if not self.pre_norm:
            return run_blocks(self.layers, self.layer_norm(tokens), wanted, checkpointing=checkpointing)
        outputs = run_blocks(self.layers, tokens, wanted, checkpointing=checkpointing)
        last = len(self.layers) - 1
        return [self.layer_norm(out) if layer == last else out for layer, out in zip(wanted, outputs, strict=True)]


class Wav2Vec2Block(nn.Module):
    """Attention, then an MLP, each normalised after its residual sum, under the published names: BAT's block has others."""

    def __init__(self, sizes: BlockSizes, drop_path: float) -> None:
        super().__init__()
        self.attention = SeparateAttention(sizes.dim, sizes.heads)
        self.layer_norm = nn.LayerNorm(sizes.dim)
        self.feed_forward = FeedForward(sizes.dim, int(sizes.dim * sizes.mlp_ratio))
        self.final_layer_norm = nn.LayerNorm(sizes.dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:  # [batch, time, dim]
        tokens = self.layer_norm(tokens + self.drop_path(self.attention(tokens)))
        return self.final_layer_norm(tokens + self.drop_path(self.feed_forward(tokens)))


class PreNormWav2Vec2Block(Wav2Vec2Block):
    """Attention, then an MLP, each on what was normalised before."""

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attention(self.layer_norm(tokens)))
        return tokens + self.drop_path(self.feed_forward(self.final_layer_norm(tokens)))


class FeedForward(nn.Module):
    """The MLP of a block, under its published names."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(dim, hidden)
        self.output_dense = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(tokens)))
