"""A spectrogram's frames and bands lie where its frontend says."""

from __future__ import annotations

import pytest
import torch

from oscine.models.encoders.frontends.decibels import BATFrontend
from oscine.models.encoders.frontends.mel import MELS, BirdMAEFrontend, kaldi_filters
from tests.tiny_encoders import TINY


def test_bands_begin_where_their_triangles_cross() -> None:
    """In the tables of the frontends, made so fine that no bin is far from the crossing."""
    n_fft, rate = 2**17, 32_000
    tables = {
        BirdMAEFrontend(rate, rate, 0.0, 1.0).mel_scale: kaldi_filters(n_fft, rate),
        BATFrontend(rate, n_fft, 320).mel_scale: BATFrontend(rate, n_fft, 320).filters,
    }
    for mel_scale, filters in tables.items():
        for edge in range(1, MELS):
            below, above = filters[round(mel_scale.hertz(edge) * n_fft / rate), edge - 1 : edge + 1].tolist()
            assert below == pytest.approx(0.5, abs=0.02)
            assert above == pytest.approx(0.5, abs=0.02)
            assert mel_scale.edge(mel_scale.hertz(edge)) == pytest.approx(edge)


@pytest.mark.parametrize("name", TINY)
def test_a_tone_that_begins_late_begins_in_the_frame_of_that_moment(name: str) -> None:
    encoder = TINY[name]()
    time = torch.arange(encoder.samples) / encoder.sample_rate
    tone = (2 * torch.pi * 1000 * time).sin() * (time > 0.5) + 1e-4 * torch.randn(len(time))
    frontend = encoder.frontend
    loudest = encoder.spectrogram([tone])[0].amax(1)
    begins = (loudest > (loudest[5:30].mean() + loudest[70:90].mean()) / 2).nonzero()[0].item()
    assert begins * frontend.frame_seconds == pytest.approx(0.5, abs=0.04)
