"""Define Bird-MAE's encoder: a plain vision transformer over 5 s of birds at 32 kHz (arXiv 2504.12880)."""

from __future__ import annotations

from oscine.models.encoders.base.layers import BlockSizes
from oscine.models.encoders.base.mae import MAE
from oscine.models.encoders.frontends.mel import BirdMAEFrontend


class BirdMAE(MAE):
    """Audio-MAE's encoder on 32 x 8 patches; clips are exactly `seconds` long, shorter ones are filled with silence."""

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 32_000,
        seconds: float = 5.0,
        mean: float = -7.2,
        std: float = 4.43,
    ) -> None:
        sizes = BlockSizes(dim, depth, heads, mlp_ratio, drop_path)
        super().__init__(BirdMAEFrontend(sample_rate, round(seconds * sample_rate), mean, std), seconds, sizes)
