"""A box is where the sound is."""

from __future__ import annotations

import math

import pytest
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.frontends.mel import MELS, PATCH
from oscine.probe.report.cutouts import Box, box_of

SIZE = (16.0, 16.0)  # frames and mel bands of a patch
ENCODERS = {
    "BAT": lambda: BAT(dim=16, depth=1, heads=2, seconds=2.0),
    "BAT of 8 ms frames": lambda: BAT(dim=16, depth=1, heads=2, seconds=2.0, hop=128),
    "BAT at 32 kHz": lambda: BAT(dim=16, depth=1, heads=2, seconds=2.0, sample_rate=32_000, n_fft=2048, hop=320),
    "Bird-MAE": lambda: BirdMAE(dim=16, depth=1, heads=2, seconds=2.0),
}


def test_a_cell_of_the_patches_own_grid_is_its_patch() -> None:
    grid = (5, 8)
    boxes = [box_of(cell, grid, grid, SIZE) for cell in range(40)]
    assert boxes[0] == Box(0, 0, 16, 16)
    assert boxes[8 + 2] == Box(16, 32, 32, 48)
    assert boxes[39] == Box(64, 112, 80, MELS)
    covered = torch.zeros(80, MELS)
    for box in boxes:
        covered[box.start : box.end, box.low : box.high] += 1
    assert (covered == 1).all()


def test_the_four_cells_of_a_finer_grid_that_lie_in_a_patch_are_that_patch() -> None:
    grid, finer = (5, 8), (10, 16)
    for time, freq in [(0, 0), (2, 3), (4, 7)]:
        cells = {(2 * time + later) * 16 + 2 * freq + higher for later in (0, 1) for higher in (0, 1)}
        assert {box_of(cell, finer, grid, SIZE) for cell in cells} == {box_of(time * 8 + freq, grid, grid, SIZE)}


def test_the_surroundings_of_a_box_end_where_the_spectrogram_does() -> None:
    assert Box(16, 32, 32, 48).around(160, 128) == Box(0, 16, 48, 64)
    assert Box(144, 112, 160, 128).around(160, 128) == Box(128, 96, 160, 128)
    assert Box(0, 0, 16, 16).around(16, 128) == Box(0, 0, 16, 32)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("hertz", [400, 1500, 5000])
def test_a_tone_lies_in_the_box_of_its_loudest_patch(name: str, hertz: int) -> None:
    encoder: Encoder = ENCODERS[name]()
    time = torch.arange(encoder.samples) / encoder.sample_rate
    tone = 0.5 * (2 * math.pi * hertz * time).sin() * ((time > 1.0) & (time < 1.1)) + 1e-3 * torch.randn(len(time))
    spectrogram = encoder.spectrogram([tone])[0]
    loudness = spectrogram.unfold(0, PATCH, PATCH).unfold(1, PATCH, PATCH).amax((2, 3))
    box = box_of(int(loudness.argmax()), encoder.grid, encoder.grid, SIZE)
    mel_scale = encoder.frontend.mel_scale
    first, last = box.seconds(mel_scale.frame_seconds)
    assert first < 1.1
    assert last > 1.0
    assert last - first == pytest.approx(encoder.step_seconds)
    assert mel_scale.hertz(box.low) <= hertz <= mel_scale.hertz(box.high)
