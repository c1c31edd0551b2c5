"""Define Audio-MAE's encoder: a plain vision transformer over 10 s at 16 kHz (arXiv 2207.06405)."""

from __future__ import annotations

from oscine.models.encoders.base.layers import BlockSizes
from oscine.models.encoders.base.mae import MAE
from oscine.models.encoders.frontends.mel import AudioMAEFrontend


class AudioMAE(MAE):
    """Pre-norm blocks on 64 x 8 patches and CLS; a clip of up to 10 s becomes `frames`, 1024 in the published weights.

    A pretrained file has no `fc_norm`, a fine-tuned one no `norm`: what is missing enters with weights 1 and biases 0.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 16_000,
        seconds: float = 10.0,
        frames: int = 1024,
        mean: float = -4.2677393,
        std: float = 4.5689974,
    ) -> None:
        sizes = BlockSizes(dim, depth, heads, mlp_ratio, drop_path)
        super().__init__(AudioMAEFrontend(sample_rate, frames, mean, std), seconds, sizes)
