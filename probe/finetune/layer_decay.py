"""Layer-wise learning rates: the nearer a block is to the waveform, the less it learns (arXiv 2106.08254)."""

from __future__ import annotations

from typing import Any

from torch import nn

from oscine.models.encoders.base.encoder import Encoder

# Norms around the blocks learn as the last block's successor; BAT's authors leave the one before the first there, too.
TOP = ("norm", "fc_norm", "pre_norm")
NO_DECAY = ("cls_token", "relative_attention_bias.weight", "grep_a")  # beside what has one axis


def layer_of(name: str, encoder: Encoder) -> int:
    """How far up a parameter lies: 0 of the embeddings, 1 of the first block, up to depth + 1 of what follows the last."""
    before, _, rest = name.partition(f"{encoder.block_path}.")
    if not before and rest:
        return int(rest.partition(".")[0]) + 1
    return encoder.depth + 1 if name.partition(".")[0] in TOP else 0


def has_blocks(encoder: Encoder) -> bool:
    """Whether there are parameters where an encoder says that its layers are."""
    return any(0 < layer_of(name, encoder) <= encoder.depth for name, _ in encoder.named_parameters())


def encoder_groups(encoder: Encoder, lr: float, weight_decay: float, decay: float) -> list[dict[str, Any]]:
    """An encoder's trained parameters for AdamW and timm's schedulers, which multiply what they say by `lr_scale`.

    That is decay ** (depth + 1 - layer), see `layer_of`. Biases, norms and tokens have no weight decay.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith(NO_DECAY)
            groups.setdefault((layer_of(name, encoder), decays), []).append(parameter)
    return [
        {
            "params": members,
            "lr": lr,
            "lr_scale": decay ** (encoder.depth + 1 - layer),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (layer, decays), members in groups.items()
    ]
