"""What fine-tuning does to clips."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from oscine.models.audio.augment import draw_mix, rms
from oscine.models.audio.clip_random import derive_seed
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.wav2vec2 import Wav2Vec2
from oscine.probe.finetune.clips import (
    Clips,
    augment_batch,
    backgrounds_of,
    mask_bands,
    mix_noise,
    mixup,
    random_gain,
    shift,
    union_labels,
)
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.tasks.kinds import TaskKind
from tests.tiny_encoders import TINY, noise

SEEDS = torch.tensor([derive_seed(7, 1, row) for row in range(64)])
OWN = TuningSettings(noise=0.5, hiss=0.01, gain=0.5, masks=1.5, time_mask=30, freq_mask=30)  # all that is a clip's own


def clips_of(waveform: Tensor, seed: Tensor = SEEDS, background: Tensor | None = None) -> Clips:
    seed = seed[: len(waveform)]
    nothing = torch.empty(len(waveform), 0)
    lengths = torch.full((len(waveform),), waveform.shape[1])
    return Clips(torch.arange(len(waveform)), waveform, lengths, seed, nothing if background is None else background)


@pytest.mark.parametrize("name", ["BAT", "BirdMAE"])
def test_what_is_done_to_a_clip_does_not_depend_on_its_batch(name: str) -> None:
    encoder, waveform, targets = TINY[name](), noise(6, 12_000), torch.eye(6)
    together, _ = augment_batch(encoder, clips_of(waveform), targets, TaskKind.SINGLE, OWN)
    for clip in range(6):
        alone = clips_of(waveform[clip : clip + 1], SEEDS[clip : clip + 1])
        spectrogram, _ = augment_batch(encoder, alone, targets[clip : clip + 1], TaskKind.SINGLE, OWN)
        torch.testing.assert_close(spectrogram[0], together[clip])


def test_another_seed_does_something_else_and_the_same_one_the_same() -> None:
    encoder, waveform, targets = TINY["BAT"](), noise(3, 12_000), torch.eye(3)
    first, again, other = (
        augment_batch(encoder, clips_of(waveform, seed), targets, TaskKind.SINGLE, OWN)[0]
        for seed in (SEEDS, SEEDS, SEEDS[3:])
    )
    assert torch.equal(first, again)
    assert all(not torch.equal(one, another) for one, another in zip(first, other))


def test_clips_are_shifted_around_their_end() -> None:
    waveform = torch.arange(500.0).repeat(64, 1)
    shifted = shift(waveform, SEEDS, torch.full((64,), 500))
    begins = shifted.argmin(1)
    for clip, begin in zip(shifted, begins):
        assert torch.equal(clip.roll(-int(begin)), waveform[0])
    assert len(set(begins.tolist())) > 32


def test_a_shorter_clip_is_shifted_around_its_own_end() -> None:
    waveform = torch.nn.functional.pad(torch.arange(1.0, 301.0), (0, 200)).repeat(64, 1)
    shifted = shift(waveform, SEEDS, torch.full((64,), 300))
    assert not shifted[:, 300:].any()
    begins = shifted[:, :300].argmin(1)
    for clip, begin in zip(shifted, begins):
        assert torch.equal(clip[:300].roll(-int(begin)), waveform[0, :300])
    assert len(set(begins.tolist())) > 32


def wav2vec2(normalise: bool) -> Encoder:
    torch.manual_seed(0)
    return Wav2Vec2(32, 1, 2, conv_dim=16, conv_width=16, conv_groups=2, normalise=normalise, seconds=0.75).eval()


FILLING = TINY | {"Wav2Vec2": partial(wav2vec2, False), "Wav2Vec2, scaled": partial(wav2vec2, True)}


@pytest.mark.parametrize("name", FILLING)
def test_shorter_clips_are_prepared_for_training_as_for_judging(name: str) -> None:
    encoder = FILLING[name]()
    samples = encoder.samples
    short, whole = noise(1, samples // 2)[0] + 0.1, noise(1, samples, seed=1)[0]
    waveform = torch.stack([torch.nn.functional.pad(short, (0, samples - len(short))), whole])
    clips = clips_of(waveform)._replace(lengths=torch.tensor([len(short), samples]))
    heard = shift(waveform, clips.seed, clips.lengths)
    judged = encoder.prepare_clips([heard[0, : len(short)], heard[1]], samples)
    prepared, _ = augment_batch(encoder, clips, torch.eye(2), TaskKind.SINGLE, TuningSettings())
    assert torch.equal(prepared, judged)


@pytest.mark.parametrize("kind", [TaskKind.SINGLE, TaskKind.MULTI])
def test_a_shorter_clip_with_another_sound_over_it_is_whole(kind: TaskKind) -> None:
    encoder = wav2vec2(False)
    waveform = torch.zeros(64, encoder.samples)
    waveform[:, :1000] = noise(64, 1000)
    clips = clips_of(waveform)._replace(lengths=torch.full((64,), 1000))

    def reach(clips: Clips, settings: TuningSettings) -> Tensor:
        prepared, _ = augment_batch(encoder, clips, torch.eye(64), kind, settings)
        return prepared[:, 1000:].any(1)

    assert not reach(clips, TuningSettings(noise=1.0, hiss=0.01)).any(), "noise lasts as long as the clip"
    assert reach(clips, TuningSettings(mix=1.0)).all()
    over, instead, _ = backgrounds_of(SEEDS)
    behind = over | instead if kind is TaskKind.MULTI else over
    assert torch.equal(reach(clips._replace(background=noise(64, encoder.samples)), TuningSettings()), behind)


def test_loudness_varies_as_much_as_published() -> None:
    factors = random_gain(torch.ones(64, 1), SEEDS, 0.0)[:, 0]
    assert 0.5 < factors.min() < 0.95
    assert 1.05 < factors.max() < 1.5
    decibels = 20 * torch.log10(random_gain(torch.ones(64, 1), SEEDS, 1.0)[:, 0] / factors)
    assert -18 < decibels.min() < -13
    assert 1 < decibels.max() < 6


def test_a_clip_is_as_loud_as_it_was_unless_told_otherwise() -> None:
    waveform = noise(64, 100)
    assert torch.equal(random_gain(waveform, SEEDS, 0.0, every=False), waveform)
    encoder, clips, targets = TINY["BirdMAE"](), clips_of(noise(3, 12_000)), torch.eye(3)
    plain, louder = (
        augment_batch(encoder, clips, targets, TaskKind.SINGLE, TuningSettings(loudness=on))[0] for on in (False, True)
    )
    shifted = shift(clips.waveform, clips.seed, clips.lengths)
    assert torch.equal(plain, encoder.frontend(shifted, plain.shape[1]))
    assert not torch.equal(plain, louder)


def test_noise_is_as_loud_as_its_setting_says() -> None:
    encoder, clips, targets = TINY["BirdMAE"](), clips_of(noise(3, 12_000)), torch.eye(3)
    heard = [
        augment_batch(encoder, clips, targets, TaskKind.SINGLE, TuningSettings(noise=1.0, noise_snr=snr))[0]
        for snr in ((10.0, 10.0), (60.0, 60.0))
    ]
    quiet = augment_batch(encoder, clips, targets, TaskKind.SINGLE, TuningSettings())[0]
    assert (heard[1] - quiet).abs().mean() < 0.1 * (heard[0] - quiet).abs().mean()


def test_mixed_clips_have_the_labels_of_all_that_sounds() -> None:
    targets = torch.eye(8)
    drawn = draw_mix((8, 100), 0.7, generator=torch.Generator().manual_seed(3))
    found = union_labels(targets, drawn)
    assert 2 <= len(drawn.chosen) < 8
    for place, clip in enumerate(drawn.chosen.tolist()):
        heard = {clip, *drawn.chosen[drawn.others[:, place]].tolist()}
        assert set(found[clip].nonzero()[:, 0].tolist()) == heard
    apart = [clip for clip in range(8) if clip not in drawn.chosen]
    assert torch.equal(found[apart], targets[apart])
    assert union_labels(targets, draw_mix((8, 100), 0.0)) is targets


def test_labels_are_united_where_a_clip_may_have_several_alone() -> None:
    encoder, waveform, targets = TINY["BAT"](), noise(6, 12_000), torch.eye(6)
    mixing = TuningSettings(mix=1.0)
    assert torch.equal(augment_batch(encoder, clips_of(waveform), targets, TaskKind.SINGLE, mixing)[1], targets)
    several = augment_batch(encoder, clips_of(waveform), targets, TaskKind.MULTI, mixing)[1]
    assert (several.sum(1) > 1).all()
    assert torch.equal(several.diagonal(), torch.ones(6))


def test_a_background_is_as_loud_as_the_ratio_says_and_silence_adds_nothing() -> None:
    waveform, background = noise(2, 5000), noise(2, 5000, seed=1) * torch.tensor([[3.0], [0.0]])
    laid = mix_noise(waveform, background, torch.tensor([[12.0], [12.0]]))
    assert 20 * torch.log10(rms(waveform[:1]) / rms(laid[:1] - waveform[:1])).item() == pytest.approx(12, abs=0.01)
    assert torch.equal(laid[1], waveform[1])


def test_a_clip_that_a_background_replaces_has_no_label() -> None:
    encoder, waveform, targets = TINY["BAT"](), noise(64, 12_000), torch.ones(64, 2)
    time = torch.arange(12_000) / 16_000
    tone = torch.sin(2 * torch.pi * 1000 * time).repeat(64, 1)
    over, instead, _ = backgrounds_of(SEEDS)
    assert 0 < instead.sum() < 15
    assert 20 < over.sum() < 44
    spectrogram, found = augment_batch(
        encoder, clips_of(waveform, background=tone), targets, TaskKind.MULTI, TuningSettings()
    )
    assert torch.equal(found == 0, instead[:, None].expand(64, 2))
    alone = encoder.frontend(tone[:1], spectrogram.shape[1])
    torch.testing.assert_close(spectrogram[instead], alone.expand(int(instead.sum()), -1, -1))
    _, kept = augment_batch(encoder, clips_of(waveform, background=tone), targets, TaskKind.SINGLE, TuningSettings())
    assert torch.equal(kept, targets), "a clip that has to have one label is not replaced"


def test_bands_of_time_and_mel_are_hidden_in_every_clip_its_own() -> None:
    spectrogram = torch.ones(64, 112, 128)
    hidden = mask_bands(spectrogram, SEEDS, 1.0, 30, 50) == 0
    for axis, widest in ((1, 30), (2, 50)):
        whole = hidden.all(3 - axis)  # [clips, size]
        widths = whole.sum(1)
        assert 0.8 * widest < widths.max() <= widest
        edges = torch.diff(whole.int(), dim=1).abs().sum(1)
        assert edges.max() <= 2, "a band is in one piece"
        assert len(set(whole.int().argmax(1).tolist())) > 20
    assert torch.equal(hidden, hidden.all(1)[:, None] | hidden.all(2)[..., None])


@pytest.mark.parametrize(("count", "low", "high"), [(0.0, 0, 0), (0.3, 8, 32), (1.0, 56, 64)])
def test_the_fraction_of_masks_is_the_chance_of_one_more(count: float, low: int, high: int) -> None:
    masked = (mask_bands(torch.ones(64, 112, 128), SEEDS, count, 30, 0) == 0).any((1, 2))
    assert low <= masked.sum() <= high


def test_two_masks_hide_more_than_one() -> None:
    one, two = ((mask_bands(torch.ones(64, 112, 128), SEEDS, count, 30, 30) == 0).sum() for count in (1.0, 2.0))
    assert two > 1.5 * one


def test_labels_are_blended_as_much_as_their_clips() -> None:
    spectrogram = torch.zeros(64, 2, 3) + torch.arange(64.0)[:, None, None]
    targets = torch.eye(64)
    blended, labels = mixup(spectrogram, targets, SEEDS, 0.9)
    shares = labels[torch.arange(64), 63 - torch.arange(64)]
    expected = (1 - shares) * torch.arange(64.0) + shares * (63 - torch.arange(64.0))
    torch.testing.assert_close(blended[:, 0, 0], expected)
    torch.testing.assert_close(labels.sum(1), torch.ones(64))
    assert 2 <= (shares == 0).sum() <= 16
    assert shares.std() > np.sqrt(0.05), "Beta(0.8, 0.8) is wide"
    assert torch.equal(mixup(spectrogram, targets, SEEDS, 0.0)[0], spectrogram)
