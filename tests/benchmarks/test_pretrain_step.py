"""The benchmark compares what is the same, and counts what is computed."""

from __future__ import annotations

import copy

import pretrain_step as benchmark
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.pretrain import AudioMosaicPretraining, BATPretraining, BirdMAEPretraining, Recipe


def tiny(name: str) -> Recipe:
    torch.manual_seed(0)
    if name == "bat":
        return BATPretraining(BAT(48, 2, 3, seconds=1.27), views=3, decoder_depth=2, decoder_heads=3)
    if name == "audiomosaic":
        return AudioMosaicPretraining(AudioMosaic(48, 2, 3, seconds=1.27, frames=128), grad_checkpointing=False)
    return BirdMAEPretraining(BirdMAE(48, 2, 3, seconds=1.0), decoder_dim=32, decoder_depth=2, decoder_heads=2)


def batch(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(2, recipe.encoder.samples, generator=generator)
    return waveform, torch.cat([recipe.draw_keep(generator) for _ in waveform])


@pytest.mark.parametrize("name", ["bat", "bird_mae", "audiomosaic"])
def test_the_plain_step_has_the_same_losses_and_gradients_and_another_has_not(name: str) -> None:
    recipe = tiny(name)
    other = copy.deepcopy(recipe)
    ours = benchmark.ours(recipe)
    plain = benchmark.plain(other)
    given = batch(recipe)
    benchmark.check_same(ours, plain, *given)
    with torch.no_grad():
        other.encoder.blocks[0].mlp.fc1.weight.mul_(1.01)
    with pytest.raises(AssertionError):
        benchmark.check_same(ours, plain, *given)


@pytest.mark.parametrize("name", ["bat", "bird_mae", "audiomosaic"])
def test_the_formula_counts_what_the_step_computes(name: str) -> None:
    recipe = tiny(name)
    waveform, keep = batch(recipe)
    spectrogram = recipe.spectrogram(waveform)
    # Spelled out, attention is two matrix products, which any version counts.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        torch.stack(list(recipe.losses(spectrogram, keep).values())).sum().backward()
    assert benchmark.flop(recipe, 2) == pytest.approx(counted.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("name", ["bat", "bird_mae", "audiomosaic"])
def test_our_step_keeps_less_for_the_backward_pass(name: str) -> None:
    recipe = tiny(name)
    steps = [benchmark.ours(recipe), benchmark.plain(recipe)]
    ours, plain = (benchmark.kept_for_backward(step, *batch(recipe)) for step in steps)
    assert 0 < ours < plain
