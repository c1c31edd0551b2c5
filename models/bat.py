"""BAT's encoder: post-norm blocks with gated attention over any length of sound at 16 kHz (arXiv 2602.16305)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from timm.layers import LayerNorm
from torch import Tensor, nn

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.frontend import MELS, BATFrontend
from oscine.models.layers import (
    PATCH,
    GatedPostNormBlock,
    drop_path_rates,
    frozen,
    init_linear,
    sincos_positions,
)

CHUNK = 64 * PATCH  # frames that the position table covers: 10.24 s at a hop of 10 ms


class BAT(Encoder):
    """Gated post-norm blocks on up to 64 x 8 patches and a CLS token without position.

    A longer spectrogram is encoded in chunks of 1024 frames, each with a CLS token and positions of its own; patches are
    joined in time, CLS is the mean over chunks, each counted once however short it is.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 16_000,
        seconds: float = 10.23,
        n_fft: int = 1024,
        hop: int = 160,
    ) -> None:
        config = {
            "dim": dim, "depth": depth, "heads": heads, "mlp_ratio": mlp_ratio, "drop_path": drop_path,
            "sample_rate": sample_rate, "seconds": seconds, "n_fft": n_fft, "hop": hop,
        }  # fmt: skip
        super().__init__(config, BATFrontend(sample_rate, n_fft, hop))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = frozen(self.position_table(dim)[None])
        self.pre_norm = LayerNorm(dim)
        self.blocks = nn.ModuleList(
            GatedPostNormBlock(dim, heads, mlp_ratio, rate) for rate in drop_path_rates(drop_path, depth)
        )
        self.init_weights()

    def init_weights(self) -> None:
        """As pretraining starts; the patch projection keeps PyTorch's default."""
        init_linear(self)
        nn.init.normal_(self.cls_token, std=0.02)

    def encode(
        self, spectrogram: Tensor, keep: Tensor | None = None, layers: Sequence[int] | None = None
    ) -> list[Tensor]:
        """As `Encoder.encode`, for any number of frames; `keep` only for what fits one chunk."""
        self._check_spectrogram(spectrogram)
        frames = spectrogram.shape[1]
        if frames <= CHUNK:
            return super().encode(spectrogram, keep, layers)
        if keep is not None:
            raise OscineError(
                f"patches can be kept in up to {CHUNK} frames, the spectrogram has {frames}; cut it first"
            )
        whole = frames // CHUNK * CHUNK
        batch = len(spectrogram)
        full = super().encode(
            rearrange(spectrogram[:, :whole], "batch (chunk frames) mel -> (batch chunk) frames mel", frames=CHUNK),
            layers=layers,
        )
        chunks = [rearrange(tokens, "(batch chunk) token dim -> batch chunk token dim", batch=batch) for tokens in full]
        if whole == frames:
            return [join_chunks(tokens) for tokens in chunks]
        rest = super().encode(spectrogram[:, whole:], layers=layers)
        return [join_chunks(tokens, tail) for tokens, tail in zip(chunks, rest, strict=True)]

    def position_table(self, dim: int) -> Tensor:
        return sincos_positions((CHUNK // PATCH, MELS // PATCH), dim)

    def patch_positions(self) -> Tensor:
        return self.pos_embed

    def begin(self, tokens: Tensor) -> Tensor:
        return self.pre_norm(torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1))

    def pool(self, last: Tensor) -> Tensor:
        return last[:, 0]


def join_chunks(chunks: Tensor, rest: Tensor | None = None) -> Tensor:  # [batch, 1 + patches, dim]
    """Chunks [batch, chunk, 1 + patches, dim], and a shorter last one [batch, 1 + patches, dim], as one sequence."""
    cls = chunks[:, :, 0]
    patches = rearrange(chunks[:, :, 1:], "batch chunk patch dim -> batch (chunk patch) dim")
    if rest is not None:
        cls = torch.cat([cls, rest[:, :1]], dim=1)
        patches = torch.cat([patches, rest[:, 1:]], dim=1)
    return torch.cat([cls.mean(1, keepdim=True), patches], dim=1)
