"""Hash an encoder's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder


def fingerprint(encoder: Encoder) -> str:
    """Hash an encoder's weights, wherever they came from."""
    return digest(encoder.state_dict())


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors and their names."""
    made = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        made.update(name.encode())
        made.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return made.hexdigest()
