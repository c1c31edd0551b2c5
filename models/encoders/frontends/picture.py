"""A spectrogram for people to look at, of a waveform whatever the encoder computes on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from oscine.models.encoders.frontends.mel import KALDI_LOWEST, MELS, KaldiFbank, lengthen
from oscine.models.encoders.frontends.mel_scale import Ruler


class Picture(NamedTuple):
    """spectrogram [frames, mel], on the CPU; ruler: what its frames and bands are in seconds and hertz."""

    spectrogram: Tensor
    ruler: Ruler


@torch.no_grad()
def log_mel_picture(waveform: Tensor, sample_rate: int) -> Picture:
    """The log mel bands of a waveform [samples], every 10 ms, without its mean."""
    fbank = KaldiFbank(sample_rate)
    waveform = lengthen(waveform[None].float().cpu(), fbank.length)
    ruler = Ruler(fbank.hop / sample_rate, KALDI_LOWEST, sample_rate / 2, MELS)
    return Picture(fbank(waveform - waveform.mean())[0], ruler)
