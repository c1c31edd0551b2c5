"""Augmentations of waveforms, batched on their device. What decides on shapes is drawn on the CPU: no step waits for it."""

from __future__ import annotations

import torch
from torch import Tensor


def coloured_noise(
    waveform: Tensor,
    seed: Tensor,
    sample_rate: int,
    probability: float = 0.2,
    snr: tuple[float, float] = (3.0, 30.0),
    decay: tuple[float, float] = (-2.0, 2.0),
) -> Tensor:  # [clips, samples]
    """Lay noise over clips, each of its own colour. waveform [clips, samples]; seed [clips], on the CPU.

    A clip gets noise with `probability`, at a signal-to-noise ratio in decibels from `snr`. Its amplitude falls as
    x^-decay, where x rises evenly over the spectrum from 1 to the root of half the sample rate: a decay of 0 is white, below
    it brighter, above it darker. All of it depends on the clip's own seed, on no other clip. From the downstream training of
    arXiv 2504.12880.
    """
    drawn = torch.stack([torch.rand(3, generator=torch.Generator().manual_seed(int(one) ^ 1)) for one in seed])
    chosen = (drawn[:, 0] < probability).nonzero()[:, 0]
    if not len(chosen):
        return waveform
    level = 10 ** (-(snr[0] + (snr[1] - snr[0]) * drawn[chosen, 1:2]) / 20)
    slope = decay[0] + (decay[1] - decay[0]) * drawn[chosen, 2:3]
    places = sent(chosen, waveform)
    clips = waveform.index_select(0, places)
    spectrum = torch.fft.rfft(white(clips, seed[chosen]))
    x = torch.linspace(1, (sample_rate / 2) ** 0.5, spectrum.shape[1], device=waveform.device)
    noise = torch.fft.irfft(spectrum * x ** -sent(slope, waveform), n=clips.shape[1])
    return waveform.index_copy(0, places, clips + rms(clips) * sent(level, waveform) / rms(noise) * noise)


def white(clips: Tensor, seed: Tensor) -> Tensor:  # [clips, samples]
    """Normal noise, drawn on the clips' device, for each clip from a generator with its own seed."""
    generators = (torch.Generator(clips.device).manual_seed(int(one) ^ 2) for one in seed)
    return torch.stack([torch.empty_like(clip).normal_(generator=own) for clip, own in zip(clips, generators)])


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
    level, places = sent(10 ** (-decibels / 20), waveform), sent(chosen, waveform)
    mixed = waveform.index_select(0, places)
    sources = mixed / rms(mixed).clamp(min=torch.finfo(mixed.dtype).eps)
    for _ in range(int(torch.randint(1, most + 1, (), generator=generator))):
        others = (torch.arange(count) + torch.randint(1, count, (count,), generator=generator)) % count
        shifts = torch.randint(waveform.shape[1], (count, 1), generator=generator)
        partners = sources.index_select(0, sent(others, waveform))
        mixed = mixed + rms(mixed) * level * roll(partners, sent(shifts, waveform))
    return waveform.index_copy(0, places, mixed)


def roll(waveform: Tensor, shifts: Tensor) -> Tensor:  # [clips, samples]
    """Shift every clip around its end by its own number of samples. shifts [clips, 1]."""
    samples = waveform.shape[1]
    return waveform.gather(1, (torch.arange(samples, device=waveform.device) - shifts) % samples)


def rms(waveform: Tensor) -> Tensor:  # [clips, 1]
    """Root mean square of every clip."""
    return waveform.square().mean(1, keepdim=True).sqrt()


def sent(numbers: Tensor, to: Tensor) -> Tensor:
    """Numbers drawn on the CPU, on a tensor's device, without waiting for it."""
    return numbers.pin_memory().to(to.device, non_blocking=True) if to.is_cuda else numbers.to(to.device)
