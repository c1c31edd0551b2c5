"""Augmentations of waveforms."""

from __future__ import annotations

import pytest
import torch

from oscine.models.audio.augment import coloured_noise, draw_mix, mix, rms, roll


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_clip_is_rolled_by_its_own_shift() -> None:
    waveform = torch.arange(10.0).repeat(2, 1)
    rolled = roll(waveform, torch.tensor([[3], [0]]))
    assert torch.equal(rolled[0], waveform[0].roll(3))
    assert torch.equal(rolled[1], waveform[1])


def test_without_partners_nothing_is_mixed() -> None:
    waveform = torch.randn(4, 100, generator=seeded())
    assert mix(waveform, draw_mix((4, 100), 0.0, generator=seeded())) is waveform
    assert torch.equal(mix(waveform[:1], draw_mix((1, 100), 1.0, generator=seeded())), waveform[:1])


def test_what_is_laid_over_a_clip_is_as_loud_as_the_ratio_says() -> None:
    waveform = torch.randn(8, 4000, generator=seeded()) * torch.linspace(0.1, 1, 8)[:, None]
    mixed = mix(waveform, draw_mix((8, 4000), 1.0, most=1, snr=(12.0, 12.0), generator=seeded(1)))
    ratio = 20 * torch.log10(rms(waveform) / rms(mixed - waveform))
    torch.testing.assert_close(ratio, torch.full((8, 1), 12.0), atol=1e-2, rtol=0)


def test_no_clip_is_laid_over_itself() -> None:
    # One clip sounds at its own frequency only; what is added to it must hold another's.
    time = torch.arange(1000) / 1000
    waveform = torch.stack([torch.sin(2 * torch.pi * 50 * number * time) for number in range(1, 5)])
    added = mix(waveform, draw_mix((4, 1000), 1.0, most=1, generator=seeded(2))) - waveform
    loudest = torch.fft.rfft(added).abs().argmax(1)
    assert (loudest != torch.tensor([50, 100, 150, 200])).all()


def test_silent_clips_stay_finite() -> None:
    waveform = torch.zeros(3, 50)
    assert mix(waveform, draw_mix((3, 50), 1.0, generator=seeded())).isfinite().all()


SEEDS = torch.arange(100, 164)


def test_a_clips_noise_depends_on_its_own_seed_alone() -> None:
    waveform = torch.randn(64, 500, generator=seeded())
    noisy = coloured_noise(waveform, SEEDS, 16_000, 0.5)
    for clip in range(64):
        alone = coloured_noise(waveform[clip : clip + 1], SEEDS[clip : clip + 1], 16_000, 0.5)
        torch.testing.assert_close(alone[0], noisy[clip])
    touched = (noisy != waveform).any(1)
    assert 16 < touched.sum() < 48
    assert torch.equal(coloured_noise(waveform, SEEDS, 16_000, 0.0), waveform)
    added = (noisy - waveform)[touched]
    assert torch.corrcoef(added).fill_diagonal_(0).abs().max() < 0.9, "no two clips get the same noise"


def test_noise_is_as_loud_as_the_ratio_says() -> None:
    waveform = torch.randn(64, 4000, generator=seeded()) * torch.linspace(0.1, 1, 64)[:, None]
    noise = coloured_noise(waveform, SEEDS, 16_000, 1.0, snr=(3.0, 30.0)) - waveform
    ratio = 20 * torch.log10(rms(waveform) / rms(noise))
    assert 2.9 < ratio.min() < 8
    assert 25 < ratio.max() < 30.1


@pytest.mark.parametrize("decay", [-2.0, 0.0, 1.0, 2.0])
def test_the_colour_of_noise_is_its_decay(decay: float) -> None:
    loud = torch.ones(64, 16_000)
    noise = coloured_noise(loud, SEEDS, 16_000, 1.0, snr=(0.0, 0.0), decay=(decay, decay)) - loud
    power = torch.fft.rfft(noise).abs().square().mean(0)
    x = torch.linspace(1, 8000**0.5, len(power))
    low, high = slice(800, 1200), slice(6800, 7200)
    expected = -20 * decay * torch.log10(x[7000] / x[1000])
    measured = 10 * torch.log10(power[high].mean() / power[low].mean())
    assert measured.item() == pytest.approx(expected.item(), abs=0.7)


def test_silent_clips_stay_silent_under_noise() -> None:
    assert torch.equal(coloured_noise(torch.zeros(3, 50), SEEDS[:3], 16_000, 1.0), torch.zeros(3, 50))
