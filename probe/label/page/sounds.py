"""Make what is heard and seen of a clip: a WAV file and a spectrogram, with what comes before and after it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from matplotlib import colormaps
from PIL import Image
from scipy.fft import rfft

from oscine.models.audio.load import audio_info, load_audio
from oscine.probe.label.journal import Clip

AROUND = 2.0  # seconds before and after a clip that are heard and seen with it
HIGHEST_RATE = 48_000  # of a sound that is played: what loudspeakers do
ULTRASOUND = 64_000  # samples a second from which on a recording holds what nobody hears
SLOWER = 10  # times that ultrasound is stretched
LOUD = 0.8  # of full scale, the peak of every sound
WIDTH, HEIGHT = 1200, 300  # pixels of a spectrogram: columns at most, rows at least
ROOM = 1.25  # times the highest frequency of a picture that a resampled waveform holds: its filter is not steep
WINDOW = 0.02  # seconds that a column of it hears
DARKEST, BRIGHTEST = 0.10, 0.999  # shares of the decibels below and above which colours stay the same
PALETTE = (colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes()
KEPT = 24  # of each kind that are kept in memory


class Stretch(NamedTuple):
    """A clip with what is around it, mono at the recording's own rate; first: its begin, in the recording's seconds."""

    waveform: np.ndarray  # [samples]
    sample_rate: int
    first: float

    @property
    def last(self) -> float:
        return self.first + len(self.waveform) / self.sample_rate


class Sounds:
    """Makes sounds and pictures of clips, and keeps the latest. places: the file of every recording.

    stretch(clip)       a `Stretch`
    sound(clip, slower) a WAV file; slower: how many times it takes as long, and is as low
    picture(clip, top)  a spectrogram as PNG; top: its highest frequency in Hz, 0 for all that the recording has
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        self.stretch = lru_cache(KEPT)(lambda clip: load_stretch(places[clip.recording], clip))
        self.sound = lru_cache(KEPT)(lambda clip, slower=1: encode_wav(self.stretch(clip), slower))
        self.picture = lru_cache(KEPT)(lambda clip, top=0: draw_spectrogram(self.stretch(clip), top))


def load_stretch(path: Path, clip: Clip) -> Stretch:
    """Load a clip with `AROUND` seconds before and after it, as far as the recording goes. AudioError as `load_audio`."""
    info = audio_info(path)
    first = max(0.0, clip.start - AROUND)
    waveform = load_audio(path, info.sample_rate, first, clip.end + AROUND - first)
    return Stretch(waveform.numpy(), info.sample_rate, first)


def encode_wav(stretch: Stretch, slower: int = 1) -> bytes:
    """Encode a stretch in 16 bit, its peak at `LOUD`, at `HIGHEST_RATE` at most; stretched to `slower` times its length."""
    waveform, rate = stretch.waveform, round(stretch.sample_rate / slower)
    if rate > HIGHEST_RATE:
        waveform, rate = soxr.resample(waveform, rate, HIGHEST_RATE), HIGHEST_RATE
    peak = np.abs(waveform).max(initial=1e-9)
    file = io.BytesIO()
    soundfile.write(file, waveform * (LOUD / peak), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def draw_spectrogram(stretch: Stretch, top: int = 0) -> bytes:
    """Draw the decibels of a stretch over time, low frequencies below, up to `top` Hz; without axes."""
    waveform, rate = stretch.waveform, stretch.sample_rate
    enough = round(ROOM * 2 * top) or rate
    if rate > enough:  # what lies above is not seen: at 384 kHz it costs a hundred times as much
        waveform, rate = soxr.resample(waveform, rate, enough), enough
    share = min(1.0, top / (rate / 2)) if top else 1.0
    window = 2 ** round(np.log2(WINDOW * rate))
    points = max(window, 2 ** int(np.ceil(np.log2(2 * HEIGHT / share))))  # zeros behind a window make rows smooth
    hop = max(1, len(waveform) // WIDTH)
    padded = np.pad(waveform, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    bands = round(share * points / 2)
    spectrum = np.asarray(rfft(frames * np.hanning(window).astype(np.float32), points))[:, :bands]
    decibels = 20 * np.log10(np.abs(spectrum) + 1e-6)
    low, high = np.quantile(decibels[::4], [DARKEST, BRIGHTEST])
    shades = np.clip((decibels - low) * (255 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    picture, file = Image.fromarray(shades.T[::-1]), io.BytesIO()
    picture.putpalette(PALETTE)
    picture.save(file, "png", compress_level=1)  # it goes to this machine's browser: time counts, size does not
    return file.getvalue()
