"""Waveforms given in Python: what cannot be meant is refused or warned of, by name."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from oscine.models.audio import waveforms
from oscine.models.audio.waveforms import as_batch, as_clips
from oscine.models.errors import OscineError


@pytest.fixture(autouse=True)
def _nothing_said_before() -> None:
    waveforms._warn_of_scale.cache_clear()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_refused_by_the_name_of_its_clip(value: float) -> None:
    batch = torch.zeros(3, 100)
    batch[1, 50] = value
    with pytest.raises(OscineError, match=r"^clip 1 of waveform has samples that are infinite or not a number"):
        as_batch(batch)
    with pytest.raises(OscineError, match=r"^clip 1 of the list has samples that are infinite or not a number"):
        as_clips(list(batch), 100)


def test_floats_on_the_scale_of_int16_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    loud = 32768 * (torch.rand(2, 100) - 0.5)
    with caplog.at_level(logging.WARNING):
        as_batch(loud)
        as_batch(loud)
        as_clips([loud[0].numpy()], 100)
    assert [record.message for record in caplog.records] == [
        f"{name} has samples beyond 8, expected floats in [-1, 1]; divide by 32768 if they were int16"
        for name in ("waveform", "clip 0 of the list")
    ]


def test_what_is_a_little_too_loud_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    assert as_batch(3 * torch.ones(1, 10)).max() == 3
    assert as_batch(torch.empty(2, 10, device="meta")).shape == (2, 10)
    assert not caplog.records
