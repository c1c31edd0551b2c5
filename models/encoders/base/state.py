"""The state of an encoder: in evaluation for a while, and hashes of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode; an encoder, or whatever holds one, is handed back in the mode it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def fingerprint(encoder: Encoder) -> str:
    """A hash of an encoder's weights, wherever they came from."""
    return digest(encoder.state_dict())


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of tensors and their names."""
    made = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        made.update(name.encode())
        made.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return made.hexdigest()
