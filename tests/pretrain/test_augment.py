"""Augmentations of waveforms."""

from __future__ import annotations

import torch

from oscine.pretrain.augment import mix, rms, roll


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_clip_is_rolled_by_its_own_shift() -> None:
    waveform = torch.arange(10.0).repeat(2, 1)
    rolled = roll(waveform, torch.tensor([[3], [0]]))
    assert torch.equal(rolled[0], waveform[0].roll(3))
    assert torch.equal(rolled[1], waveform[1])


def test_without_partners_nothing_is_mixed() -> None:
    waveform = torch.randn(4, 100, generator=seeded())
    assert mix(waveform, 0.0, generator=seeded()) is waveform
    assert mix(waveform[:1], 1.0, generator=seeded()) is not None
    assert torch.equal(mix(waveform[:1], 1.0, generator=seeded()), waveform[:1])


def test_what_is_laid_over_a_clip_is_as_loud_as_the_ratio_says() -> None:
    waveform = torch.randn(8, 4000, generator=seeded()) * torch.linspace(0.1, 1, 8)[:, None]
    mixed = mix(waveform, 1.0, most=1, snr=(12.0, 12.0), generator=seeded(1))
    ratio = 20 * torch.log10(rms(waveform) / rms(mixed - waveform))
    torch.testing.assert_close(ratio, torch.full((8, 1), 12.0), atol=1e-2, rtol=0)


def test_no_clip_is_laid_over_itself() -> None:
    # One clip sounds at its own frequency only; what is added to it must hold another's.
    time = torch.arange(1000) / 1000
    waveform = torch.stack([torch.sin(2 * torch.pi * 50 * number * time) for number in range(1, 5)])
    added = mix(waveform, 1.0, most=1, generator=seeded(2)) - waveform
    loudest = torch.fft.rfft(added).abs().argmax(1)
    assert (loudest != torch.tensor([50, 100, 150, 200])).all()


def test_silent_clips_stay_finite() -> None:
    waveform = torch.zeros(3, 50)
    assert mix(waveform, 1.0, generator=seeded()).isfinite().all()
