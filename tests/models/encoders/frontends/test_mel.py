"""Spectrograms: equal to torchaudio's own, within rounding of the authors', and each clip's own affair."""

from __future__ import annotations

import math

import pytest
import torch
import torchaudio
from torch import Tensor
from torch.testing import assert_close

from oscine.models.encoders.frontends.decibels import BATFrontend
from oscine.models.encoders.frontends.mel import BirdMAEFrontend, Frontend, KaldiFbank, kaldi_filters

# case of the golden file: sample rate, length of the transform, hop
BAT_CASES = {
    "speech_1s_16k": (16_000, 1024, 160),
    "bird_5s_32k": (32_000, 2048, 320),
    "cropped_3s_16k": (16_000, 1024, 160),
}
BIRD_MAE_CASES = ["exact5s", "short3p2s", "tiny30ms"]
FLOAT32_STEP = torch.finfo(torch.float32).eps


def bat_frontend() -> BATFrontend:
    return BATFrontend(sample_rate=16_000, n_fft=1024, hop=160)


def bird_mae_frontend() -> BirdMAEFrontend:
    return BirdMAEFrontend(sample_rate=32_000, samples=32_000, mean=-7.2, std=4.43)


@pytest.fixture(params=[bat_frontend, bird_mae_frontend])
def frontend(request: pytest.FixtureRequest) -> Frontend:
    return request.param()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def torchaudio_spectrogram(waveform: Tensor, sample_rate: int, n_fft: int, hop: int) -> Tensor:
    """BAT's steps with torchaudio's classes, one clip at a time."""
    mel = torchaudio.transforms.MelSpectrogram(sample_rate, n_fft, hop_length=hop, n_mels=128)
    decibels = torchaudio.transforms.AmplitudeToDB("power", 80)
    clips = [decibels(mel(clip)) for clip in waveform]
    return torch.stack([(clip - clip.min()) / (clip.max() - clip.min() + 1e-8) for clip in clips]).transpose(1, 2)


def exact_spectrogram(waveform: Tensor, sample_rate: int, n_fft: int, hop: int) -> tuple[Tensor, Tensor]:
    """BAT's steps in float64 from the float32 tables, and what one float32 step in the transform amounts to at each entry.

    A Fourier transform's rounding errors are as large in quiet bins as in loud ones: a share of the frame's largest
    amplitude. Seen through the logarithm they weigh the more, the quieter the band is against the frame's loudest one.
    """
    window = torch.hann_window(n_fft).double()
    filters = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, 128, sample_rate).double()
    spectrum = torch.stft(waveform.double(), n_fft, hop, window=window, pad_mode="reflect", return_complex=True)
    decibels = 10 * (spectrum.abs().square().transpose(1, 2) @ filters).clamp(min=1e-10).log10()
    high = decibels.amax((1, 2), keepdim=True)
    decibels = decibels.maximum(high - 80)
    span = high - decibels.amin((1, 2), keepdim=True)
    loudest = 10 ** ((decibels.amax(2, keepdim=True) - decibels) / 20)
    return (decibels - high) / span + 1, 20 / math.log(10) / span * loudest * FLOAT32_STEP


@pytest.mark.parametrize("case", BAT_CASES)
def test_bat_spectrograms_equal_torchaudio(golden_bat, case):
    waveform = golden_bat[f"frontend.{case}.waveform"]
    expected = torchaudio_spectrogram(waveform, *BAT_CASES[case])
    made = BATFrontend(*BAT_CASES[case])(waveform)[:, : expected.shape[1]]
    assert_close(made, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", BAT_CASES)
def test_bat_spectrograms_lie_within_rounding_of_the_authors(golden_bat, case):
    # The golden tensors come from another processor, whose Fourier transform rounds otherwise: torchaudio itself, to which
    # ours is bit-equal here, differs from them by up to 1.3e-5, though by less than 1e-6 in 98 % of the
    # entries. Against float64 both are as good (largest error 8.5e-6 theirs, 5.9e-6 ours; mean 1.5e-7 both). So the gate is
    # 1e-6 plus one float32 step of the frame's loudest amplitude; measured are 0.32 such steps (theirs) and 0.18 (ours).
    waveform, expected = golden_bat[f"frontend.{case}.waveform"], golden_bat[f"frontend.{case}.spectrogram"][:, 0]
    made = BATFrontend(*BAT_CASES[case])(waveform, frames=expected.shape[1])
    exact, step = exact_spectrogram(waveform, *BAT_CASES[case])
    frames = min(expected.shape[1], exact.shape[1])
    for spectrogram in (expected, made):
        error = (spectrogram[:, :frames] - exact[:, :frames]).abs()
        assert (error <= 1e-6 + step[:, :frames]).all()
        assert error.mean() < 2e-7
    assert made.shape == expected.shape
    assert torch.equal(made[:, frames:], expected[:, frames:])


@pytest.mark.parametrize("case", BIRD_MAE_CASES)
def test_bird_mae_spectrograms_equal_the_authors(golden_bird_mae, case):
    made = BirdMAEFrontend(32_000, 160_000, mean=-7.2, std=4.43)(golden_bird_mae[f"wave.{case}"][None])
    difference = (made - golden_bird_mae[f"mel.{case}"][:, 0]).abs()
    # The mean of the clip, summed in another order, alone moves quiet bins of the lowest bands by 4e-4.
    assert difference.max() < 1e-3
    assert difference.mean() < 5e-6


@pytest.mark.parametrize("sample_rate", [16_000, 32_000])
def test_the_batched_filter_bank_equals_kaldis_for_each_clip(sample_rate):
    waveform = noise(3, sample_rate) * torch.tensor([[1.0], [0.01], [0.0]])
    expected = torch.stack(
        [
            torchaudio.compliance.kaldi.fbank(
                clip[None], htk_compat=True, sample_frequency=sample_rate, use_energy=False, window_type="hanning",
                num_mel_bins=128, dither=0.0, frame_shift=10,
            )
            for clip in waveform
        ]
    )  # fmt: skip
    assert_close(KaldiFbank(sample_rate)(waveform), expected, atol=1e-5, rtol=0)


def test_kaldis_filters_are_triangles_over_the_whole_range():
    filters = kaldi_filters(1024, 32_000)
    assert filters.shape == (512, 128)
    assert (filters >= 0).all()
    assert (filters.sum(0) > 0).all(), "every band hears something"
    assert filters[0].sum() == 0, "the bin at 0 Hz lies below the range"


def test_a_spectrogram_does_not_depend_on_the_batch(frontend):
    quiet = noise(1, 32_000, seed=1) * 1e-3
    alone = frontend(quiet)
    assert torch.equal(frontend(torch.cat([quiet, noise(1, 32_000) * 9]))[:1], alone)
    assert torch.equal(frontend(torch.cat([torch.zeros(1, 32_000), quiet]))[1:], alone)


@pytest.mark.parametrize("samples", [1, 400, 1024, 16_000, 31_999, 32_000, 50_000])
def test_frames_come_in_whole_patches_and_as_promised(frontend, samples):
    frames = frontend(noise(1, samples)).shape[1]
    assert frames == frontend.frames(samples)
    assert frames % 16 == 0
    assert 0 <= frames - frontend.raw_frames(samples) < 16


def test_frames_are_cropped_or_padded_only_when_told(frontend):
    whole = frontend(noise(1, 32_000))
    assert torch.equal(frontend(noise(1, 32_000), frames=64), whole[:, :64])
    longer = frontend(noise(1, 32_000), frames=whole.shape[1] + 32)
    assert torch.equal(longer[:, : whole.shape[1]], whole)
    assert (longer[:, whole.shape[1] :] == longer[:, -1:, :1]).all()


def test_bat_pads_with_zero_after_scaling_to_the_unit_range():
    spectrogram = bat_frontend()(noise(2, 16_000))
    assert torch.equal(spectrogram[:, 101:], torch.zeros(2, 11, 128))
    assert spectrogram[:, :101].amin() == 0
    assert_close(spectrogram.amax((1, 2)), torch.ones(2))


def test_bat_does_not_hear_how_loud_a_clip_is():
    waveform = noise(2, 16_000)
    assert_close(bat_frontend()(waveform * 0.5), bat_frontend()(waveform), atol=1e-5, rtol=0)


def test_bat_makes_zeros_of_silence():
    assert torch.equal(bat_frontend()(torch.zeros(1, 16_000)), torch.zeros(1, 112, 128))


def test_bird_mae_pads_with_each_clips_own_floor():
    waveform = noise(2, 32_000) * torch.tensor([[1.0], [0.1]])
    spectrogram = bird_mae_frontend()(waveform)
    floors = spectrogram[:, :98].amin((1, 2))
    assert floors[0] > floors[1]
    assert torch.equal(spectrogram[:, 98:], floors[:, None, None].expand(2, 14, 128))


def test_bird_mae_fills_a_short_clip_up_with_silence():
    waveform = noise(1, 12_345)
    filled = torch.cat([waveform, torch.zeros(1, 32_000 - 12_345)], dim=1)
    assert torch.equal(bird_mae_frontend()(waveform), bird_mae_frontend()(filled))


def test_bird_mae_does_not_hear_a_constant_offset():
    waveform = noise(1, 32_000)
    assert_close(bird_mae_frontend()(waveform + 0.25), bird_mae_frontend()(waveform), atol=1e-3, rtol=0)


def test_spectrograms_stay_float32_under_mixed_precision(frontend, bfloat16):
    waveform = noise(1, 32_000)
    made = frontend(waveform)
    with torch.autocast("cpu", enabled=False):
        assert torch.equal(made, frontend(waveform))
    assert made.dtype is torch.float32


def test_tables_move_with_the_module_but_are_not_stored(frontend):
    assert not frontend.state_dict()
    assert not list(frontend.parameters())
    assert {buffer.device.type for buffer in frontend.to("meta").buffers()} == {"meta"}
