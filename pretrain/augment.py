"""Augmentations of waveforms, batched on their device; random numbers come from a generator on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def mix(
    waveform: Tensor,
    probability: float,
    most: int = 3,
    snr: tuple[float, float] = (5.0, 25.0),
    generator: torch.Generator | None = None,
) -> Tensor:  # [clips, samples]
    """Lay clips of a batch quietly over one another. waveform [clips, samples].

    Each clip takes part with `probability`. Those that do get 1 to `most` others of them added, as many for all, each
    shifted around its end and as loud as the clip's signal-to-noise ratio says, drawn from `snr` in decibels. The authors'
    code adds one and the same clip each time, by a slip; here each addition draws its own.
    """
    chosen = (torch.rand(len(waveform), generator=generator) < probability).nonzero()[:, 0]
    count = len(chosen)
    if count < 2:
        return waveform
    low, high = snr
    decibels = low + (high - low) * torch.rand(count, 1, generator=generator)
    level = (10 ** (-decibels / 20)).to(waveform)
    mixed = waveform[chosen]
    sources = mixed / rms(mixed).clamp(min=torch.finfo(mixed.dtype).eps)
    for _ in range(int(torch.randint(1, most + 1, (), generator=generator))):
        others = (torch.arange(count) + torch.randint(1, count, (count,), generator=generator)) % count
        shifts = torch.randint(waveform.shape[1], (count, 1), generator=generator)
        mixed = mixed + rms(mixed) * level * roll(sources[others], shifts.to(waveform.device))
    return waveform.index_copy(0, chosen.to(waveform.device), mixed)


def roll(waveform: Tensor, shifts: Tensor) -> Tensor:  # [clips, samples]
    """Shift every clip around its end by its own number of samples. shifts [clips, 1]."""
    samples = waveform.shape[1]
    return waveform.gather(1, (torch.arange(samples, device=waveform.device) - shifts) % samples)


def rms(waveform: Tensor) -> Tensor:  # [clips, 1]
    """Root mean square of every clip."""
    return waveform.square().mean(1, keepdim=True).sqrt()
