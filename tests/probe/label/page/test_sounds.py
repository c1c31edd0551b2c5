"""A clip is heard and seen with what is around it, as far as its recording goes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from oscine.models.audio.load import AudioError
from oscine.probe.label.journal import Clip
from oscine.probe.label.page.sounds import (
    AROUND,
    HIGHEST_RATE,
    LOUD,
    Sounds,
    Stretch,
    draw_spectrogram,
    encode_wav,
    load_stretch,
)


def tone(path: Path, rate: int, hertz: float, seconds: float = 12.0) -> Path:
    times = np.arange(round(rate * seconds)) / rate
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * hertz * times), rate)
    return path


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [(4.0, 7.0, 2.0, 9.0), (0.0, 3.0, 0.0, 5.0), (1.0, 4.0, 0.0, 6.0), (9.0, 12.0, 7.0, 12.0)],
)
def test_two_seconds_are_around_a_clip_where_the_recording_has_them(
    start: float, end: float, first: float, last: float, tmp_path: Path
) -> None:
    stretch = load_stretch(tone(tmp_path / "a.wav", 16_000, 1000), Clip("a.wav", start, end))
    assert (stretch.first, stretch.last) == (first, pytest.approx(last))
    assert pytest.approx(2.0) == AROUND


def test_a_quiet_sound_is_as_loud_as_any_other(tmp_path: Path) -> None:
    stretch = load_stretch(tone(tmp_path / "a.wav", 16_000, 1000), Clip("a.wav", 3, 6))
    sound, rate = soundfile.read(io.BytesIO(encode_wav(stretch)))
    assert rate == 16_000
    assert np.abs(sound).max() == pytest.approx(LOUD, abs=1e-3)
    assert len(sound) == len(stretch.waveform)


def test_silence_stays_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    stretch = load_stretch(tmp_path / "a.wav", Clip("a.wav", 0, 1))
    assert not soundfile.read(io.BytesIO(encode_wav(stretch)))[0].any()
    assert Image.open(io.BytesIO(draw_spectrogram(stretch))).size[1] >= 300


def test_ultrasound_is_played_at_a_rate_that_loudspeakers_have_and_ten_times_slower(tmp_path: Path) -> None:
    stretch = load_stretch(tone(tmp_path / "bat.wav", 256_000, 50_000, 1.0), Clip("bat.wav", 0, 1))
    sound, rate = soundfile.read(io.BytesIO(encode_wav(stretch)))
    assert (rate, len(sound)) == (HIGHEST_RATE, HIGHEST_RATE)
    slow, rate = soundfile.read(io.BytesIO(encode_wav(stretch, 10)))
    assert (rate, len(slow)) == (25_600, 256_000)
    strongest = np.abs(np.fft.rfft(slow)).argmax() * rate / len(slow)
    assert strongest == pytest.approx(5_000, abs=1), "a tenth of 50 kHz"


@pytest.mark.parametrize(("top", "share"), [(0, 0.25), (4000, 0.5), (2000, 1.0)])
def test_low_frequencies_are_below_and_the_range_is_what_was_asked(top: int, share: float, tmp_path: Path) -> None:
    stretch = load_stretch(tone(tmp_path / "a.wav", 16_000, 1990 if share == 1 else 2000), Clip("a.wav", 3, 6))
    picture = Image.open(io.BytesIO(draw_spectrogram(stretch, top)))
    shades = np.asarray(picture.convert("L"), dtype=float)[::-1]  # from low to high
    brightest = shades.mean(1).argmax() / len(shades)
    assert brightest == pytest.approx(share, abs=0.02)
    assert shades.shape[1] >= 1000


def test_the_low_part_of_an_ultrasound_recording_holds_nothing_that_folds_down_and_is_small() -> None:
    times = np.arange(384_000) / 384_000
    loud, quiet = np.sin(2 * np.pi * 50_000 * times), 0.01 * np.sin(2 * np.pi * 1000 * times)
    picture = Image.open(io.BytesIO(draw_spectrogram(Stretch((loud + quiet).astype(np.float32), 384_000, 0.0), 2000)))
    shades = np.asarray(picture.convert("L"), dtype=float)[::-1]
    assert shades.mean(1).argmax() / len(shades) == pytest.approx(0.5, abs=0.02)
    assert 300 <= len(shades) <= 600
    assert shades.shape[1] >= 1000


def test_what_is_asked_for_again_is_not_made_again(tmp_path: Path) -> None:
    path, clip = tone(tmp_path / "a.wav", 16_000, 1000), Clip("a.wav", 3, 6)
    sounds = Sounds({"a.wav": path})
    first = sounds.picture(clip, 0), sounds.sound(clip, 1)
    path.unlink()
    assert (sounds.picture(clip, 0), sounds.sound(clip, 1)) == first
    with pytest.raises(AudioError, match="there is no such file"):
        sounds.sound(Clip("a.wav", 0, 3), 1)
