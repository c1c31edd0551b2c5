"""Synthesise the songs of the synthetic dawn chorus, and what the microphones of its recordists make of them.

A species is a grammar of syllables, an individual sings it with an accent; a recordist is a place and a recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.fft import irfft, rfft, rfftfreq

Array = np.ndarray
# From the time since a syllable's begin, in seconds and as a share from 0 to 1, to its pitch in hertz and its loudness.
Shape = Callable[[Array, Array], tuple[Array, Array]]


def sweep(start: float, end: float) -> Shape:
    """A whistle that glides from one pitch to another, evenly in octaves."""
    return lambda t, x: (start * (end / start) ** x, np.ones_like(x))


def arch(edge: float, middle: float) -> Shape:
    """A glide there and back: a hill, or a valley where the middle is lower."""
    return lambda t, x: (edge * (middle / edge) ** (0.5 - 0.5 * np.cos(2 * np.pi * x)), np.ones_like(x))


def trill(centre: float, rate: float, octaves: float) -> Shape:
    """A pitch that swings so many times a second, so many octaves in all."""
    return lambda t, x: (centre * 2 ** (octaves / 2 * np.sin(2 * np.pi * rate * t)), np.ones_like(x))


def buzz(start: float, end: float, rate: float) -> Shape:
    """A glide whose loudness flutters too fast to be counted, which spreads it over a band of twice the rate."""
    return lambda t, x: (start * (end / start) ** x, 0.5 - 0.5 * np.cos(2 * np.pi * rate * t))


def rattle(pitch: float, first: float, last: float) -> Shape:
    """A train of falling clicks, so many a second at its begin and at its end."""

    def shape(t: Array, x: Array) -> tuple[Array, Array]:
        clicks = first * t + (last - first) * t * x / 2  # so far
        since = clicks % 1 / (first + (last - first) * x)  # seconds since the latest began
        return pitch * (0.7 + 0.6 * np.exp(-since / 0.006)), np.exp(-since / 0.008)

    return shape


WHISTLE = (1.0, 0.06)
STACK = (0.5, 0.8, 1.0, 0.8, 0.5, 0.25)


@dataclass(frozen=True)
class Syllable:
    """A shape of some length; `partials` are the amplitudes of its fundamental and overtones."""

    shape: Shape
    seconds: float
    partials: tuple[float, ...] = WHISTLE


@dataclass(frozen=True)
class Phrase:
    """One of some motifs, sung over and over. Each letter of a motif is a syllable; an individual has a favourite motif."""

    motifs: tuple[str, ...]
    fewest: int
    most: int
    gap: float  # seconds of silence after each syllable
    hurry: float = 1.0  # the last gap of the phrase as a share of its first


@dataclass(frozen=True)
class Species:
    """A grammar: the syllables that a bird knows, and the order of the phrases that it sings."""

    syllables: dict[str, Syllable]
    song: tuple[Phrase, ...]


TINKLET = {
    "w": Syllable(sweep(4900, 4500), 0.32),
    "t": Syllable(trill(4600, 30, 0.3), 0.5),
    "c": Syllable(sweep(6100, 3700), 0.05),
}
# Five genera of two species. The two have nearly one band, one set of syllables and one length of song, so the mean spectrum
# of a clip hardly tells them apart; what does is the direction of a sweep, the order of phrases, a rhythm, a bend, a rate.
SPECIES = {
    # direction: runs of whistles that rise, or fall
    "amber_swoopling": Species(
        {
            "i": Syllable(sweep(3500, 3500), 0.22),
            "u": Syllable(sweep(2500, 5000), 0.14),
            "v": Syllable(sweep(2900, 4200), 0.09),
        },
        (Phrase(("i", "v"), 0, 2, 0.12), Phrase(("uu", "uv", "uuv"), 3, 4, 0.07)),
    ),
    "slate_swoopling": Species(
        {
            "i": Syllable(sweep(3100, 3100), 0.22),
            "d": Syllable(sweep(4500, 2200), 0.14),
            "b": Syllable(sweep(3800, 2600), 0.09),
        },
        (Phrase(("i", "b"), 0, 2, 0.12), Phrase(("dd", "db", "ddb"), 3, 4, 0.07)),
    ),
    # order: the same three phrases, forwards or backwards
    "copper_tinklet": Species(
        TINKLET,
        (Phrase(("w",), 1, 2, 0.1), Phrase(("t", "tc"), 1, 2, 0.08), Phrase(("c", "cc"), 5, 8, 0.08, hurry=0.4)),
    ),
    "pewter_tinklet": Species(
        TINKLET,
        (Phrase(("c", "cc"), 5, 8, 0.08, hurry=0.4), Phrase(("t", "ct"), 1, 2, 0.08), Phrase(("w",), 1, 2, 0.1)),
    ),
    # rhythm: an even rattle, or one that gathers speed
    "bramble_rattlekin": Species(
        {
            "r": Syllable(rattle(3900, 17, 17), 1.3),
            "s": Syllable(rattle(3900, 17, 17), 0.6),
            "k": Syllable(sweep(5000, 3000), 0.06),
        },
        (Phrase(("k", "kk"), 0, 2, 0.15), Phrase(("r", "sr", "rs"), 1, 1, 0.18)),
    ),
    "thistle_rattlekin": Species(
        {
            "r": Syllable(rattle(3300, 7, 31), 1.3),
            "s": Syllable(rattle(3300, 7, 31), 0.6),
            "k": Syllable(sweep(5000, 3000), 0.06),
        },
        (Phrase(("k", "kk"), 0, 2, 0.15), Phrase(("r", "sr", "rs"), 1, 1, 0.18)),
    ),
    # bend: harmonic stacks that arch up, or sag
    "marsh_fiddlewing": Species(
        {"h": Syllable(arch(1000, 1500), 0.26, STACK), "g": Syllable(arch(1150, 1500), 0.13, STACK)},
        (Phrase(("hh", "hg", "ggh"), 3, 4, 0.1),),
    ),
    "dune_fiddlewing": Species(
        {"h": Syllable(arch(1500, 1000), 0.26, STACK), "g": Syllable(arch(1500, 1150), 0.13, STACK)},
        (Phrase(("hh", "hg", "ggh"), 3, 4, 0.1),),
    ),
    # rate: slow, wide trills or quick, narrow ones, between buzzes
    "lantern_quaver": Species(
        {"q": Syllable(trill(3100, 9, 0.7), 0.6), "z": Syllable(buzz(3700, 2800, 110), 0.25)},
        (Phrase(("z", "zz"), 0, 1, 0.09), Phrase(("q", "qz"), 2, 3, 0.09)),
    ),
    "velvet_quaver": Species(
        {"q": Syllable(trill(3100, 21, 0.5), 0.6), "z": Syllable(buzz(3700, 2800, 110), 0.25)},
        (Phrase(("z", "zz"), 0, 1, 0.09), Phrase(("q", "qz"), 2, 3, 0.09)),
    ),
}


@dataclass(frozen=True)
class Individual:
    """A bird: its departures from its species in pitch, tempo and syllables, and the motif it favours in each phrase."""

    species: Species
    pitch: float
    tempo: float
    accents: dict[str, tuple[float, float]]  # ratios of pitch and length
    favourites: tuple[str, ...]


def hatch(species: Species, rng: np.random.Generator) -> Individual:
    """Make an individual of a species."""
    return Individual(
        species,
        pitch=ratio(rng, 0.05),
        tempo=ratio(rng, 0.12),
        accents={name: (ratio(rng, 0.03), ratio(rng, 0.1)) for name in species.syllables},
        favourites=tuple(str(rng.choice(phrase.motifs)) for phrase in species.song),
    )


def sing(bird: Individual, sample_rate: int, rng: np.random.Generator) -> Array:
    """Sing one song [samples] of root mean square 1. It sounds from its first sample to its last; no two songs are alike."""
    notes, at = [], 0.0
    pitch, tempo = bird.pitch * ratio(rng, 0.01), bird.tempo * ratio(rng, 0.04)
    for name, gap in song_syllables(bird, rng):
        accent, length = bird.accents[name]
        wave = syllable_wave(
            bird.species.syllables[name],
            sample_rate,
            pitch * accent * ratio(rng, 0.01),
            length / tempo * ratio(rng, 0.04),
        )
        notes.append((round(at * sample_rate), wave * ratio(rng, 0.15)))
        at += (len(wave) / sample_rate) + gap / tempo * ratio(rng, 0.08)
    song = np.zeros(max(begin + len(wave) for begin, wave in notes))
    for begin, wave in notes:
        song[begin : begin + len(wave)] += wave
    return song / np.sqrt(np.mean(song**2))


def song_syllables(bird: Individual, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Yield the syllables of a song in order, each with the gap after it in seconds."""
    for phrase, favourite in zip(bird.species.song, bird.favourites, strict=True):
        times = int(rng.integers(phrase.fewest, phrase.most + 1))
        motif = favourite if rng.random() < 0.75 else str(rng.choice(phrase.motifs))
        for turn in range(times):
            for name in motif:
                yield name, phrase.gap * phrase.hurry ** (turn / max(1, times - 1))


def syllable_wave(syllable: Syllable, sample_rate: int, pitch: float, stretch: float) -> Array:
    """Synthesise a syllable as a waveform [samples], faded in and out over 8 ms."""
    seconds = syllable.seconds * stretch
    samples = round(seconds * sample_rate)
    x = (np.arange(samples) + 0.5) / samples
    hertz, loudness = syllable.shape(x * seconds, x)
    hertz = hertz * pitch
    phase = 2 * np.pi * np.cumsum(hertz) / sample_rate
    fade = np.sin(np.pi / 2 * np.clip(np.minimum(x, 1 - x) * seconds / 0.008, 0, 1)) ** 2
    wave = np.zeros(samples)
    for number, amplitude in enumerate(syllable.partials, start=1):
        below = np.clip(10 - 20 * number * hertz / sample_rate, 0, 1)  # fades out just below half the sample rate
        wave += amplitude * below * np.sin(number * phase)
    return wave * loudness * fade


def ratio(rng: np.random.Generator, spread: float) -> float:
    """Draw a factor near 1; two standard deviations at most, so that no bird leaves its kind."""
    return float(np.exp(spread * np.clip(rng.standard_normal(), -2, 2)))


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
    """Turn a song into what reaches the microphone: fainter and duller with distance, with the echo of the place."""
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
    """Record the songs at a microphone [samples] in 16 bit, background included."""
    for noise in recordist.background:
        sound = sound + background(noise, recordist, len(sound), rng)
    wave = sound * amplitude(recordist.gain)
    wave /= max(1.0, np.abs(wave).max() / 0.98)  # rather than clip, a recordist turns the gain down
    return np.round(wave * 32767).astype(np.int16)


def background(noise: Noise, recordist: Recordist, samples: int, rng: np.random.Generator) -> Array:
    """Synthesise a stretch of one noise at the microphone [samples]; its level differs from day to day."""
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
    """Compute the spectrum of a noise after the microphone."""
    hertz = np.maximum(rfftfreq(samples, 1 / sample_rate), 1.0)
    band = 1 / np.sqrt((1 + (noise.low / hertz) ** 8) * (1 + (hertz / noise.high) ** 8))
    return (band * amplitude(noise.tilt * np.log2(hertz / 1000) + microphone(tilt, hertz))).astype(np.float32)


def microphone(tilt: float, hertz: Array) -> Array:
    """Compute a microphone's response in decibels, flat at the lowest frequencies."""
    return tilt * np.log2(np.maximum(hertz, 50.0) / 3000)


def amplitude(decibels: Array | float) -> Array:
    return np.exp(np.log(10) / 20 * np.asarray(decibels))  # several times as fast as a power of ten
