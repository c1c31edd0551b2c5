"""Audio-MAE's encoder: a plain vision transformer over 10 s of sound at 16 kHz (arXiv 2207.06405)."""

from __future__ import annotations

import torch
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.models.frontend import AudioMAEFrontend
from oscine.models.layers import PATCH, beside
from oscine.models.mae import MAE

DISCARDED = ("decoder", "mask_token", "head.")  # what stands beside the encoder in pretraining and in fine-tuning


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
        config = {
            "dim": dim, "depth": depth, "heads": heads, "mlp_ratio": mlp_ratio, "drop_path": drop_path,
            "sample_rate": sample_rate, "seconds": seconds, "frames": frames, "mean": mean, "std": std,
        }  # fmt: skip
        if frames % PATCH:
            raise OscineError(f"frames={frames}, expected a multiple of {PATCH}, such as 1024")
        super().__init__(config, AudioMAEFrontend(sample_rate, frames, mean, std))


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors out of a checkpoint of Audio-MAE, pretrained or fine-tuned, from its authors or for timm."""
    tensors = {
        name: tensor
        for name, tensor in beside(state, "patch_embed.proj.weight").items()
        if not name.startswith(DISCARDED)
    }
    for absent, present in (("fc_norm", "norm"), ("norm", "fc_norm")):
        if f"{absent}.weight" not in tensors and f"{present}.weight" in tensors:
            tensors[f"{absent}.weight"] = torch.ones_like(tensors[f"{present}.weight"])
            tensors[f"{absent}.bias"] = torch.zeros_like(tensors[f"{present}.weight"])
    return tensors
