"""Views of a clip are changed as their names say, each by itself, from its own seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchaudio
from scipy.signal import butter, sosfreqz
from torch import Tensor
from torch.testing import assert_close

from oscine.models.audio.augment import rms
from oscine.pretrain import views
from oscine.pretrain.views import ORDER, Drawn, along_spectrum, at_rate, butterworth, two_views, warped
from tests.tiny_encoders import noise

RATE, SAMPLES = 16_000, 32_000


def sine(hertz: float, samples: int = SAMPLES) -> Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / RATE)[None]


def pitch(waveform: Tensor) -> float:
    """The loudest frequency, in hertz."""
    spectrum = torch.fft.rfft(waveform * torch.hann_window(waveform.shape[1])).abs()
    return spectrum.argmax().item() * RATE / waveform.shape[1]


def drawn(*numbers: float, clips: int = 1) -> Drawn:
    filled = [*numbers, *[0.0] * (3 - len(numbers))]
    return Drawn(torch.tensor([filled] * clips), torch.arange(clips))


def test_views_depend_on_their_clips_seed_alone() -> None:
    waveform, seed = noise(3, SAMPLES), torch.tensor([5, 6, 7])
    together = two_views(waveform, seed, RATE)
    assert together.shape == (6, SAMPLES)
    assert together.isfinite().all()
    for clip in range(3):
        alone = two_views(waveform[clip : clip + 1], seed[clip : clip + 1], RATE)
        # The vocoder's phase of what is next to silence is rounding.
        assert (alone - together[2 * clip : 2 * clip + 2]).norm() < 1e-3 * alone.norm()
    assert len(two_views(waveform[:1].expand(3, -1), seed, RATE).unique(dim=0)) == 6


def test_without_changes_views_are_shifted_and_louder_or_softer() -> None:
    waveform = noise(8, SAMPLES)
    for view, clip in zip(two_views(waveform, torch.arange(8), RATE, share=0.0), waveform.repeat_interleave(2, 0)):
        likeness = torch.fft.irfft(torch.fft.rfft(view) * torch.fft.rfft(clip).conj())
        shift, gain = int(likeness.argmax()), (view.norm() / clip.norm()).item()
        assert_close(view, gain * clip.roll(shift), atol=1e-5, rtol=0)
        assert 0.5 <= gain <= 1.5


def test_a_change_comes_as_often_as_the_authors_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [0] * len(ORDER)

    def counting(place: int) -> views.Apply:
        def count(clips: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
            counts[place] += len(clips)
            return clips

        return count

    chances = [chance for chance, _ in ORDER]
    monkeypatch.setattr(views, "ORDER", tuple((chance, counting(place)) for place, chance in enumerate(chances)))
    for share in (1.0, 0.5):
        counts[:] = [0] * len(ORDER)
        two_views(noise(500, 10), torch.arange(500), RATE, share)
        assert [count / 1000 for count in counts] == pytest.approx([share * chance for chance in chances], abs=0.05)


@pytest.mark.parametrize("semitones", [-4.0, -1.0, 0.0, 2.5, 3.99])
def test_pitch_is_shifted_by_semitones_and_the_length_stays(semitones: float) -> None:
    shifted = views.shift_pitch(sine(1000), drawn((semitones + 4) / 8), RATE)
    assert shifted.shape == (1, SAMPLES)
    assert pitch(shifted) == pytest.approx(1000 * 2 ** (semitones / 12), rel=1e-3)


def test_what_would_lie_above_half_the_sample_rate_is_left_out() -> None:
    shifted = views.shift_pitch(sine(7500), drawn(0.999), RATE)
    assert rms(shifted) < 0.02 * rms(sine(7500))


@pytest.mark.parametrize("number", [0.0, 0.25, 0.999])
def test_time_is_stretched_in_the_same_pitch(number: float) -> None:
    rate = 0.7 + 0.6 * number
    clip = torch.cat([sine(500, 16_000), sine(2000, 16_000)], dim=1)  # a second each
    stretched = views.stretch(clip, drawn(number), RATE)
    assert stretched.shape == clip.shape
    change = round(16_000 / rate)
    before, after = (
        stretched[:, : change - 1500],
        stretched[:, change + 1500 : round(min(32_000, 32_000 / rate)) - 1500],
    )
    assert (pitch(before), pitch(after)) == pytest.approx((500, 2000), rel=0.01)
    if rate > 1:
        assert rms(stretched[:, round(32_000 / rate) + 2000 :]) < 1e-3, "silence follows"


def test_the_phase_vocoder_is_torchaudios() -> None:
    clip, rate, window = noise(1, SAMPLES).double(), 1.25, torch.hann_window(views.WINDOW, dtype=torch.float64)
    spectrum = torch.stft(clip, views.WINDOW, views.HOP, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * views.HOP, spectrum.shape[1], dtype=torch.float64)[:, None]
    expected = torchaudio.functional.phase_vocoder(spectrum, rate, advance)
    expected = torch.istft(expected, views.WINDOW, views.HOP, window=window)[:, :24_000]
    made = at_rate(clip, torch.tensor([[rate]], dtype=torch.float64), SAMPLES)[:, :24_000]
    assert_close(made, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("cut", [20.0, 700.0, 2400.0])
def test_a_high_pass_is_butterworths(order: int, cut: float) -> None:
    s = along_spectrum(torch.zeros(1, 16_000, dtype=torch.float64))
    made = butterworth(s / warped(torch.tensor([[cut]], dtype=torch.float64), RATE), torch.tensor([order]))
    _, expected = sosfreqz(butter(order, cut, "highpass", fs=RATE, output="sos"), np.arange(8001.0), fs=RATE)
    assert_close(made[0], torch.from_numpy(expected).to(made.dtype), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("number", "order"), [(0.0, 1), (0.9, 2)])
def test_a_band_is_stopped_as_by_butterworths_filter(number: float, order: int) -> None:
    # The width is drawn as 1: from half to one and a half of the centre of 4 kHz, the most.
    impulse = torch.zeros(1, 16_000)
    impulse[0, 0] = 1
    response = torch.fft.rfft(views.band_stop(impulse, drawn(1.0, 0.5 / 1.49, number), RATE))[0]
    sos = butter(order, [2000, 6000], "bandstop", fs=RATE, output="sos")
    _, expected = sosfreqz(sos, np.arange(8001.0), fs=RATE)
    assert_close(response, torch.from_numpy(expected).to(response.dtype), atol=1e-3, rtol=0)


def test_the_very_middle_of_a_stopped_band_is_silent_whatever_the_order() -> None:
    # A frequency of the spectrum may lie there to the last bit: then 0 is divided by 0 where an order has no further pole.
    made = butterworth(torch.zeros(4, 1, dtype=torch.complex64), torch.tensor([1, 2, 3, 4]))
    assert torch.equal(made, torch.zeros(4, 1, dtype=torch.complex64))


def test_noise_gain_and_sign_are_as_loud_as_drawn() -> None:
    clips = noise(4, SAMPLES)
    added = views.add_noise(clips, drawn(1 / 7, clips=4), RATE) - clips  # 10 dB
    assert_close(20 * (rms(clips) / rms(added)).log10(), torch.full((4, 1), 10.0), atol=0.2, rtol=0)
    assert_close(views.gain(clips, drawn(0.75, clips=4), RATE), clips * 10 ** (6 / 20))
    assert torch.equal(views.invert_polarity(clips, drawn(clips=4), RATE), -clips)


def test_silence_stays_silence() -> None:
    assert not two_views(torch.zeros(16, SAMPLES), torch.arange(16), RATE).any()
