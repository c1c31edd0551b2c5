"""Import the parts of timm and torchaudio, here alone: where they do not fit torch, the error is one line."""

from __future__ import annotations

from oscine.models.library_versions import load_libraries

load_libraries()

from timm.layers import Attention, DropPath, LayerNorm, Mlp, PatchEmbed  # noqa: E402
from timm.models.convnext import ConvNeXt, ConvNeXtStage  # noqa: E402
from timm.models.vision_transformer import Block  # noqa: E402
from timm.scheduler import CosineLRScheduler  # noqa: E402
from torchaudio.functional import amplitude_to_DB, melscale_fbanks  # noqa: E402

__all__ = [
    "Attention", "Block", "ConvNeXt", "ConvNeXtStage", "CosineLRScheduler", "DropPath", "LayerNorm", "Mlp", "PatchEmbed",
    "amplitude_to_DB", "melscale_fbanks",
]  # fmt: skip
