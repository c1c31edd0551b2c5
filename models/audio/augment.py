"""Augment waveforms, batched on their device. What decides on shapes is drawn on the CPU: no step waits for it.

They lie in this room because pretraining and fine-tuning, which do not know each other, both use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from oscine.models.audio.clip_random import NOISE, per_clip_noise, per_clip_rand, to_device


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
    drawn = per_clip_rand(seed, NOISE, 3)
    chosen = (drawn[:, 0] < probability).nonzero()[:, 0]
    if not len(chosen):
        return waveform
    level = 10 ** (-(snr[0] + (snr[1] - snr[0]) * drawn[chosen, 1:2]) / 20)
    slope = decay[0] + (decay[1] - decay[0]) * drawn[chosen, 2:3]
    places = to_device(chosen, waveform)
    clips = waveform.index_select(0, places)
    spectrum = torch.fft.rfft(per_clip_noise(clips, seed[chosen]))
    x = torch.linspace(1, (sample_rate / 2) ** 0.5, spectrum.shape[1], device=waveform.device)
    noise = torch.fft.irfft(spectrum * x ** -to_device(slope, waveform), n=clips.shape[1])
    return waveform.index_copy(0, places, clips + rms(clips) * to_device(level, waveform) / rms(noise) * noise)


class Mix(NamedTuple):
    """The clips of a batch that are laid over one another.

    chosen [count], those that take part; others [round, count], which of the chosen each gets; shifts [round, count, 1], in
    samples; level [count, 1], of what is added.
    """

    chosen: Tensor
    others: Tensor
    shifts: Tensor
    level: Tensor


def draw_mix(
    shape: Sequence[int],
    probability: float,
    most: int = 3,
    snr: tuple[float, float] = (5.0, 25.0),
    generator: torch.Generator | None = None,
) -> Mix:
    """Draw which clips of a batch are laid quietly over one another; each takes part with `probability`.

    Those that do get 1 to `most` others of them added, as many for all, each shifted around its end and as loud as the
    clip's signal-to-noise ratio says, drawn from `snr` in decibels, over what the mix is by then: several may be louder than
    the clip together, as the authors have it. Their code adds one and the same clip each time, by a slip; here each
    addition draws its own. shape: [clips, samples].
    """
    clips, samples = shape
    chosen = (torch.rand(clips, generator=generator) < probability).nonzero()[:, 0]
    count = len(chosen)
    if count < 2:
        none = torch.empty(0, 0, dtype=torch.long)
        return Mix(chosen[:0], none, none, torch.empty(0, 1))
    low, high = snr
    level = 10 ** (-(low + (high - low) * torch.rand(count, 1, generator=generator)) / 20)
    others, shifts = [], []
    for _ in range(int(torch.randint(1, most + 1, (), generator=generator))):
        others.append((torch.arange(count) + torch.randint(1, count, (count,), generator=generator)) % count)
        shifts.append(torch.randint(samples, (count, 1), generator=generator))
    return Mix(chosen, torch.stack(others), torch.stack(shifts), level)


def mix(waveform: Tensor, drawn: Mix) -> Tensor:  # [clips, samples]
    """Lay over clips what `draw_mix` has drawn for them. waveform [clips, samples]."""
    if not len(drawn.chosen):
        return waveform
    level, places = to_device(drawn.level, waveform), to_device(drawn.chosen, waveform)
    mixed = waveform.index_select(0, places)
    sources = mixed / rms(mixed).clamp(min=torch.finfo(mixed.dtype).eps)
    for others, shifts in zip(drawn.others, drawn.shifts):
        partners = sources.index_select(0, to_device(others, waveform))
        mixed = mixed + rms(mixed) * level * roll(partners, to_device(shifts, waveform))
    return waveform.index_copy(0, places, mixed)


def roll(waveform: Tensor, shifts: Tensor, around: Tensor | None = None) -> Tensor:  # [clips, samples]
    """Shift every clip around its end by its own number of samples. shifts [clips, 1].

    around [clips, 1]: the first samples that are shifted, the others staying where they are; all by default.
    """
    places = torch.arange(waveform.shape[1], device=waveform.device)
    around = torch.full_like(shifts, len(places)) if around is None else around
    return waveform.gather(1, torch.where(places < around, (places - shifts) % around, places))


def rms(waveform: Tensor) -> Tensor:  # [clips, 1]
    """Compute the root mean square of every clip. waveform [clips, samples]."""
    return waveform.square().mean(1, keepdim=True).sqrt()
