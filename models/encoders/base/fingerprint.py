"""Hash an encoder's weights, and put it into eval mode for a while."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put an encoder, or what holds one, into eval mode for a block, and back into the mode it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


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
