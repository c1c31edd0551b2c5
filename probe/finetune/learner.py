"""Let an encoder and a probe learn together, with layer-wise learning rates of the encoder (arXiv 2106.08254)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.probe.finetune.settings import TuningSettings, not_trainable
from oscine.probe.heads.probe import Probe


class Learner(nn.Module):
    """An encoder and a probe that learn together: prepared clips [clips, ...] to logits [clips, classes]."""

    def __init__(self, encoder: Encoder, probe: Probe) -> None:
        super().__init__()
        self.encoder = encoder
        self.probe = probe

    def forward(self, prepared: Tensor) -> Tensor:
        features = self.encoder.features(prepared, self.probe.needs.layers).to(torch.float32)
        with torch.autocast(prepared.device.type, enabled=False):
            return self.probe(features)


def check_able(encoder: Encoder, tuning: TuningSettings) -> None:
    """Raise where an encoder cannot learn, or not in the way that is asked for."""
    name = type(encoder).__name__
    if not encoder.trainable:
        raise OscineError(not_trainable(name))
    if tuning.drop_path and "drop_path" not in encoder.config:
        raise OscineError(
            f"tuning.drop_path is {tuning.drop_path:g}, but {name} has no paths to drop; give --tuning.drop_path 0"
        )
    if tuning.masks and not encoder.spectral:
        raise OscineError(
            f"tuning.masks is {tuning.masks:g}, but {name} computes on no spectrogram in which bands can be hidden; give "
            "--tuning.masks 0"
        )
    layers = {encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    if tuning.layer_decay < 1 and layers <= {0, encoder.decay_layers + 1}:
        raise OscineError(
            f"tuning.layer_decay is {tuning.layer_decay:g}, but {name} has no layers below {encoder.block_path!r} by which "
            "learning rates could decay; give --tuning.layer_decay 1, or set its block_path"
        )


def rebuilt(encoder: Encoder, **changes: Any) -> Encoder:
    """Build a copy of an encoder with its weights, some other settings, and no provenance."""
    with torch.random.fork_rng(devices=[]):
        made = type(encoder)(**encoder.config | changes)
    made.load_state_dict(encoder.state_dict())
    return made.to(encoder.device)


def encoder_groups(encoder: Encoder, lr: float, weight_decay: float, decay: float) -> list[dict[str, Any]]:
    """Group an encoder's trained parameters for AdamW, with the `lr_scale` by which timm's schedulers multiply.

    It is decay ** (layers + 1 - layer), see `Encoder.layer_of`. Biases, norms and tokens have no weight decay.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    kept = encoder.no_weight_decay()
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and name not in kept
            groups.setdefault((encoder.layer_of(name), decays), []).append(parameter)
    return [
        {
            "params": members,
            "lr": lr,
            "lr_scale": decay ** (encoder.decay_layers + 1 - layer),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (layer, decays), members in groups.items()
    ]
