"""Make two views of every clip, each changed by itself: in time, loudness, noise, spectrum and pitch.

The order, the chances and the ranges are those of AudioMosaic's code (arXiv 2605.14231), which takes audiomentations for
them; here they are batched on the waveforms' device. What differs: time is stretched and pitch shifted by a phase vocoder,
and filters act on the clip's spectrum, so that its end runs into its beginning, as after a shift.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from oscine.models.audio.augment import rms, roll
from oscine.models.audio.clip_random import (
    CHANGES,
    LOUDNESS,
    SHIFT,
    derive_seed,
    per_clip_beta,
    per_clip_noise,
    per_clip_rand,
    to_device,
)

VIEWS = 2
WINDOW, HOP = 1024, 256  # of the phase vocoder, in samples
SEMITONES = 4  # up or down, at the most
PARTS = 1024  # of a factor of pitch: a whole number of them counts samples exactly, which floats do not
# The poles of Butterworth's high-passes of order 1 to 4, in units of the cut-off; 0 is no pole.
POLES = torch.tensor(
    [
        [complex(math.cos(angle), math.sin(angle)) for angle in angles] + [0j] * (4 - len(angles))
        for angles in ([math.pi * (2 * k + n + 1) / (2 * n) for k in range(n)] for n in range(1, 5))
    ]
)


class Drawn(NamedTuple):
    """The clips of one change: numbers [clips, 3], in [0, 1), and seed [clips], both on the CPU."""

    numbers: Tensor
    seed: Tensor

    def between(self, column: int, low: float, high: float) -> Tensor:  # [clips, 1]
        return low + (high - low) * self.numbers[:, column, None]

    def mel_between(self, column: int, low: float, high: float) -> Tensor:  # [clips, 1]
        """Draw hertz evenly on the mel scale."""
        lowest, highest = (math.log1p(hertz / 700) for hertz in (low, high))
        return 700 * self.between(column, lowest, highest).expm1()

    def among(self, column: int, *choices: int) -> Tensor:  # [clips]
        return torch.tensor(choices)[(self.numbers[:, column] * len(choices)).long()]


def two_views(waveform: Tensor, seed: Tensor, sample_rate: int, share: float = 1.0) -> Tensor:  # [clips * 2, samples]
    """Change every clip twice, independently: the two views of a clip follow one another.

    waveform [clips, samples]; seed [clips], on the CPU. Each view is shifted around its end and made louder or softer by
    Beta(10, 10) + 0.5; then come the `ORDER` of changes, each with `share` of its chance.
    """
    seeds = torch.tensor([derive_seed(int(one), view) for one in seed for view in range(VIEWS)])
    views = waveform.repeat_interleave(VIEWS, dim=0)
    shifts = (per_clip_rand(seeds, SHIFT, 1) * waveform.shape[1]).long()
    views = roll(views, to_device(shifts, views)) * to_device(per_clip_beta(seeds, LOUDNESS, 10) + 0.5, views)
    drawn = per_clip_rand(seeds, CHANGES, 4 * len(ORDER)).unflatten(1, (len(ORDER), 4))
    for numbers, (chance, change) in zip(drawn.unbind(1), ORDER):
        chosen = (numbers[:, 0] < share * chance).nonzero()[:, 0]
        if len(chosen):
            places = to_device(chosen, views)
            changed = change(views.index_select(0, places), Drawn(numbers[chosen, 1:], seeds[chosen]), sample_rate)
            views = views.index_copy(0, places, changed.to(views.dtype))
    return views


# Changes: clips [clips, samples], what is drawn for them, and their sample rate.


def invert_polarity(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
    """Change the sign of every sample."""
    return -clips


def stretch(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
    """Play faster or slower in the same pitch; what is then too long is cut, too short filled up with silence."""
    return at_rate(clips, to_device(drawn.between(0, 0.7, 1.3), clips), clips.shape[1])


def add_noise(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
    """Add normal noise at a signal-to-noise ratio of 5 to 40 dB."""
    level = 10 ** (-to_device(drawn.between(0, 5, 40), clips) / 20)
    return clips + rms(clips) * level * per_clip_noise(clips, drawn.seed)


def gain(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
    """Make louder or softer, by up to 12 dB."""
    return clips * 10 ** (to_device(drawn.between(0, -12, 12), clips) / 20)


def high_pass(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
    """Weaken what lies below 20 to 2400 Hz, by 12, 18 or 24 dB an octave."""
    cut, order = drawn.mel_between(0, 20, 2400), drawn.among(1, 2, 3, 4)
    edge = to_device(warped(cut, sample_rate), clips)
    return filtered(clips, butterworth(along_spectrum(clips) / edge, order))


def band_stop(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
    """Weaken a band around 200 to 4000 Hz, half to twice its centre wide, by 12 or 24 dB an octave."""
    centre, half = drawn.mel_between(0, 200, 4000), drawn.between(1, 0.5, 1.99) / 2
    low, high = (
        to_device(warped((centre * side).clamp(max=0.49 * sample_rate), sample_rate), clips)
        for side in (1 - half, 1 + half)
    )
    s = along_spectrum(clips)
    return filtered(clips, butterworth((s**2 + low * high) / (s * (high - low)), drawn.among(2, 1, 2)))


def shift_pitch(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
    """Shift the pitch by up to four semitones: play at another speed, then stretch to the length from before."""
    parts = (PARTS * 2 ** (drawn.between(0, -SEMITONES, SEMITONES) / 12)).round().long()
    longest = math.ceil(clips.shape[1] * 2 ** (SEMITONES / 12))
    return at_rate(at_speed(clips, to_device(parts, clips), longest), to_device(PARTS / parts, clips), clips.shape[1])


Apply = Callable[[Tensor, Drawn, int], Tensor]
ORDER: tuple[tuple[float, Apply], ...] = (
    (0.5, invert_polarity), (0.7, stretch), (0.5, add_noise), (0.3, gain), (0.3, high_pass), (0.5, band_stop),
    (0.6, shift_pitch),
)  # fmt: skip


# Time and pitch


def at_rate(clips: Tensor, rate: Tensor, samples: int) -> Tensor:  # [clips, samples]
    """Play clips [clips, any] at a rate [clips, 1] in the same pitch, by a phase vocoder; silence follows their end."""
    window = torch.hann_window(WINDOW, dtype=clips.dtype, device=clips.device)
    spectrum = torch.stft(clips, WINDOW, HOP, window=window, return_complex=True)
    bins, frames = spectrum.shape[1:]
    place = torch.arange(1 + samples // HOP, device=clips.device) * rate  # of every new frame among the old ones
    before = place.long().clamp(max=frames)[:, None].expand(-1, bins, -1)
    size, phase = pad(spectrum.abs(), (0, 2)), pad(spectrum.angle(), (0, 2))
    share = (place - place.floor())[:, None].to(size.dtype)
    # From frame to frame a phase goes on by as much as it did there; turns that are whole are left out.
    turns = phase.diff(dim=2).gather(2, before)
    turned = torch.cat([phase[:, :, :1], turns[:, :, :-1]], dim=2).cumsum(2)
    size = torch.lerp(size.gather(2, before), size.gather(2, before + 1), share)
    return torch.istft(torch.polar(size, turned), WINDOW, HOP, window=window, length=samples)


def at_speed(clips: Tensor, parts: Tensor, samples: int) -> Tensor:  # [clips, samples]
    """Play clips at parts / 1024 times their speed, hence pitch; silence follows their end. parts [clips, 1]."""
    length = clips.shape[1]
    spectrum = torch.fft.rfft(clips)
    # What would come to lie above half the sample rate is left out.
    heard = torch.arange(spectrum.shape[1], device=clips.device) * parts < PARTS * length // 2
    twice = pad(
        2 * torch.fft.irfft(spectrum * heard, n=2 * length), (0, 2)
    )  # a line between samples is exact enough here
    number = torch.arange(samples, device=clips.device) * 2 * parts
    before = (number // PARTS).clamp(max=2 * length)
    share = (number % PARTS).to(clips.dtype) / PARTS
    return torch.lerp(twice.gather(1, before), twice.gather(1, before + 1), share)


# Filters


def along_spectrum(clips: Tensor) -> Tensor:  # [frequencies], complex
    """Return where a digital filter's frequencies lie on the imaginary axis of an analogue one (bilinear transform)."""
    count = 1 + clips.shape[1] // 2
    share = torch.arange(count, dtype=clips.dtype, device=clips.device) / clips.shape[1]
    return 1j * (math.pi * share).clamp(1e-9, math.pi / 2 - 1e-6).tan()  # neither 0 nor infinite


def warped(hertz: Tensor, sample_rate: int) -> Tensor:
    """Return an analogue filter's frequency for a digital one's."""
    return (math.pi * hertz / sample_rate).tan()


def butterworth(s: Tensor, order: Tensor) -> Tensor:  # [clips, frequencies]
    """Return the response of high-passes with cut-off 1 at s [clips, frequencies]. order [clips], from 1 to 4."""
    response = torch.ones_like(s)
    for pole in POLES[order - 1].T:  # [clips]
        place = to_device(pole, s)[:, None]
        # Without a pole it is 1, also where s is 0, in the very middle of a band that is stopped: 0 / 0 is no number.
        response = response * torch.where(place == 0, 1, s / (s - place))
    return response


def filtered(clips: Tensor, response: Tensor) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(clips) * response, n=clips.shape[1])
