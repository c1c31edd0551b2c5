"""A recording is read as the mean of its channels, or as one of them; one that it lacks is named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.models.audio.channels import parse_channel
from oscine.models.audio.load import AudioError, load_audio
from oscine.models.errors import OscineError


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """A second of 0.5 on the left, of -0.25 on the right."""
    soundfile.write(tmp_path / "stereo.wav", np.tile([0.5, -0.25], (8000, 1)), 8000, subtype="FLOAT")
    return tmp_path / "stereo.wav"


def test_each_channel_is_read_by_itself_and_the_mix_is_their_mean(stereo: Path) -> None:
    levels = {channel: load_audio(stereo, 8000, channel=channel).unique().tolist() for channel in ("left", "right", 2)}
    assert levels == {"left": [0.5], "right": [-0.25], 2: [-0.25]}
    assert torch.equal(load_audio(stereo, 8000), load_audio(stereo, 8000, channel="mix"))
    assert load_audio(stereo, 8000).unique().tolist() == [0.125]


def test_a_part_of_a_channel_equals_the_slice_of_the_whole_channel(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((44100, 3))
    soundfile.write(tmp_path / "a.flac", noise, 44100)
    whole, part = (load_audio(tmp_path / "a.flac", 16000, *at, channel=3) for at in ((), (0.3, 0.4)))
    torch.testing.assert_close(part, whole[4800 : 4800 + 6400], rtol=0, atol=1e-6)


def test_a_channel_that_a_recording_lacks_is_an_error_that_names_it(stereo: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"stereo\.wav: has 2 channels, no channel 3; choose another one, or mix"):
        load_audio(stereo, 8000, channel=3)
    soundfile.write(tmp_path / "mono.wav", np.zeros(80), 8000)
    assert len(load_audio(tmp_path / "mono.wav", 8000, channel="left")) == 80
    with pytest.raises(AudioError, match=r"mono\.wav: has 1 channel, no channel 2"):
        load_audio(tmp_path / "mono.wav", 8000, channel="right")


@pytest.mark.parametrize("wrong", [0, -1, "0", "centre", True, 1.5, ""])
def test_what_is_no_channel_is_refused(stereo: Path, wrong: int) -> None:
    with pytest.raises(
        OscineError, match=re.escape(f"no channel {wrong!r}; choose mix, left, right, each, or a number")
    ):
        load_audio(stereo, 8000, channel=wrong)


def test_one_waveform_cannot_be_each_channel(stereo: Path) -> None:
    with pytest.raises(OscineError, match="channel each is several waveforms; ask for one channel at a time"):
        load_audio(stereo, 8000, channel="each")


def test_all_ways_to_write_a_channel_are_one() -> None:
    assert [parse_channel(channel) for channel in ("mix", "left", "1", 1, "right", "4", "each")] == [
        "mix", 1, 1, 1, 2, 4, "each",
    ]  # fmt: skip
