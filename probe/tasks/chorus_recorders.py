"""The recordists of the synthetic dawn chorus: what a place and a recorder make of a song."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.fft import irfft, rfft, rfftfreq

from oscine.probe.tasks.chorus_birds import Array


@dataclass(frozen=True)
class Noise:
    """One kind of background, white noise or drops in a band: steady, in gusts or pulsing."""

    level: float  # decibels against a bird at 10 m
    low: float  # hertz
    high: float
    tilt: float = 0.0  # decibels an octave
    drops: float = 0.0  # a second; 0 is noise without pause
    gusts: float = 0.0  # how far the level wanders: a standard deviation, as the logarithm of a factor
    pulse: float = 0.0  # times a second


@dataclass(frozen=True)
class Recordist:
    """A place and a recorder: everything that makes one recordist's clips unlike another's."""

    sample_rate: int
    background: tuple[Noise, ...]
    near: float  # metres to the bird
    far: float
    decay: float  # seconds in which an echo falls by 60 dB
    echo: float  # energy of the echo against the direct sound, for a bird at 10 m
    gain: float  # decibels against full scale, of a bird at 10 m
    tilt: float  # of the microphone, decibels an octave around 3 kHz


HISS = Noise(-38, 50, 24_000)  # every recorder's own
RECORDISTS = {
    "ridge": Recordist(
        44_100, (Noise(-6, 20, 300, -9, gusts=0.7), Noise(-32, 200, 4000, -4, gusts=0.5), HISS),
        near=6, far=25, decay=0.25, echo=0.1, gain=-24, tilt=-0.3,
    ),
    "meadow": Recordist(
        32_000,
        (Noise(-28, 5400, 6000, pulse=14), Noise(-34, 3600, 4200, pulse=37, gusts=0.3), Noise(-36, 100, 9000, -3), HISS),
        near=6, far=22, decay=0.15, echo=0.05, gain=-22, tilt=0.7,
    ),
    "brook": Recordist(
        24_000, (Noise(-22, 250, 2500, -5, gusts=0.15), Noise(-36, 1500, 9000, -3, drops=400), HISS),
        near=5, far=18, decay=0.5, echo=0.25, gain=-21, tilt=-0.8,
    ),
    "bypass": Recordist(
        48_000, (Noise(-8, 30, 250, -6, gusts=0.5), Noise(-18, 90, 130), Noise(-28, 300, 2500, -5, gusts=0.6), HISS),
        near=6, far=22, decay=0.6, echo=0.25, gain=-23, tilt=0.4,
    ),
    "drizzle": Recordist(
        22_050, (Noise(-36, 800, 11_000, -1), Noise(-28, 700, 6000, -3, drops=20), Noise(-20, 40, 300, -6), HISS),
        near=5, far=18, decay=0.4, echo=0.15, gain=-21, tilt=-0.5,
    ),
}  # fmt: skip


def travel(song: Array, recordist: Recordist, metres: float, rng: np.random.Generator) -> Array:
    """A song as the microphone hears it: fainter and duller with distance, with the echo of the place behind it."""
    rate = recordist.sample_rate
    seconds = np.arange(round(recordist.decay * rate)) / rate
    room = rng.standard_normal(len(seconds)) * amplitude(-60 * seconds / recordist.decay)
    room *= np.sqrt(recordist.echo * metres / 10 / np.sum(room**2))
    room[0] += 1.0  # the direct sound
    length = len(song) + len(room) - 1
    whole = 2 ** (length - 1).bit_length()  # a fast length for the transform, and no echo wraps around
    hertz = rfftfreq(whole, 1 / rate)
    air = -0.004 * metres * (hertz / 1000) ** 2  # decibels: leaves and air swallow high sounds first
    heard = rfft(song, whole) * rfft(room, whole) * amplitude(air + microphone(recordist.tilt, hertz))
    return irfft(heard, whole)[:length] * 10 / metres


def record(sound: Array, recordist: Recordist, rng: np.random.Generator) -> Array:
    """What the recorder writes of the songs at its microphone [samples], background included: 16 bit."""
    for noise in recordist.background:
        sound = sound + background(noise, recordist, len(sound), rng)
    wave = sound * amplitude(recordist.gain)
    wave /= max(1.0, np.abs(wave).max() / 0.98)  # rather than clip, a recordist turns the gain down
    return np.round(wave * 32767).astype(np.int16)


def background(noise: Noise, recordist: Recordist, samples: int, rng: np.random.Generator) -> Array:
    """A stretch of one noise as the microphone hears it [samples]; its level differs from day to day."""
    if noise.drops:
        grains = rng.standard_normal(samples, dtype=np.float32)
        spectrum = rfft(grains * (rng.random(samples, dtype=np.float32) < noise.drops / recordist.sample_rate))
    else:  # noise that is white in time is white in frequency: no need to transform it
        spectrum = rng.standard_normal(2 * (samples // 2 + 1), dtype=np.float32).view(np.complex64)
    wave = irfft(spectrum * colour(noise, recordist.tilt, recordist.sample_rate, samples), samples)
    level = amplitude(noise.level + 2 * rng.standard_normal()) / np.sqrt(np.mean(wave**2, dtype=np.float64))
    seconds = np.arange(samples) / recordist.sample_rate
    if noise.pulse:
        level = level * (0.5 - 0.5 * np.cos(2 * np.pi * noise.pulse * seconds))
    if noise.gusts:
        knots = np.arange(0.0, seconds[-1] + 1.0, 0.7)
        level = level * np.interp(seconds, knots, np.exp(noise.gusts * rng.standard_normal(len(knots))))
    return wave * level


@lru_cache(maxsize=8)  # the same for every clip of a recordist
def colour(noise: Noise, tilt: float, sample_rate: int, samples: int) -> Array:
    """The spectrum of a noise after the microphone."""
    hertz = np.maximum(rfftfreq(samples, 1 / sample_rate), 1.0)
    band = 1 / np.sqrt((1 + (noise.low / hertz) ** 8) * (1 + (hertz / noise.high) ** 8))
    return (band * amplitude(noise.tilt * np.log2(hertz / 1000) + microphone(tilt, hertz))).astype(np.float32)


def microphone(tilt: float, hertz: Array) -> Array:
    """A microphone's response in decibels, flat at the lowest frequencies."""
    return tilt * np.log2(np.maximum(hertz, 50.0) / 3000)


def amplitude(decibels: Array | float) -> Array:
    return np.exp(np.log(10) / 20 * np.asarray(decibels))  # several times as fast as a power of ten
