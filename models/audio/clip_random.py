"""Draw the random numbers of a clip from its own seed, so that they depend on no other clip, batch or process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

# Which of a clip's random numbers is drawn: two that are drawn for the same clip have two numbers, which stay as they
# are, since a run that goes on must draw what it would have drawn.
NOISE, WHITE, SHIFT, LOUDNESS, BACKGROUND, WHICH_BACKGROUND, HISS, CHANGES, MASKS = 1, 2, 3, 4, 6, 7, 8, 9, 16
STEP, MIXUP = 5, 5  # of pretraining and of fine-tuning, of which a clip has one alone


def derive_seed(*numbers: int) -> int:
    """Derive a seed that depends on all the numbers, in their order, and on nothing else."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def batch_generator(seed: Tensor) -> torch.Generator:
    """Make a generator for what is drawn for a batch as a whole, from the seed of its first clip. seed [clips]."""
    return torch.Generator().manual_seed(int(seed[0]))


def clip_generators(seed: Tensor, which: int, device: torch.device | str = "cpu") -> Iterator[torch.Generator]:
    """Make a generator for every clip. seed [clips], on the CPU."""
    return (torch.Generator(device).manual_seed(int(one) ^ which) for one in seed)


def per_clip_rand(seed: Tensor, which: int, count: int) -> Tensor:  # [clips, count], in [0, 1)
    """Draw numbers for every clip, evenly distributed. seed [clips], on the CPU."""
    return torch.stack([torch.rand(count, generator=own) for own in clip_generators(seed, which)])


def per_clip_noise(clips: Tensor, seed: Tensor) -> Tensor:  # [clips, samples]
    """Draw normal noise for every clip, on the clips' device. seed [clips], on the CPU."""
    generators = clip_generators(seed, WHITE, clips.device)
    return torch.stack([torch.empty_like(clip).normal_(generator=own) for clip, own in zip(clips, generators)])


def per_clip_beta(seed: Tensor, which: int, shape: float) -> Tensor:  # [clips, 1]
    """Draw from Beta(shape, shape) for every clip. seed [clips], on the CPU."""
    drawn = [np.random.default_rng(int(one) ^ which).beta(shape, shape) for one in seed]
    return torch.tensor(drawn, dtype=torch.float32)[:, None]


def to_device(numbers: Tensor, like: Tensor) -> Tensor:
    """Move numbers that were drawn on the CPU to another tensor's device, without waiting for it."""
    return numbers.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else numbers.to(like.device)
