"""Compute mel power spectrograms in decibels, scaled as BAT, ConvNeXt_BS and AudioProtoPNet were trained on them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from oscine.models.encoders.frontends.mel import MELS, Frontend, pad_to
from oscine.models.timm_parts import amplitude_to_DB, melscale_fbanks

FLOOR = 1e-10  # of a mel power, in silence
RANGE = 80.0  # decibels below a clip's loudest value, where all that is softer ends


class DecibelFrontend(Frontend):
    """Mel power spectrogram in decibels, down to 80 below the clip's loudest. Subclasses say how it is scaled and padded."""

    lowest = 0.0
    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, n_fft: int, hop: int, *, bands: int = MELS) -> None:
        super().__init__(sample_rate, bands)
        self.n_fft = n_fft
        self.hop = hop
        window = torch.hann_window(n_fft)
        with torch.device("cpu"):  # the function looks at the values, which the meta device does not have
            filters = melscale_fbanks(n_fft // 2 + 1, self.lowest, sample_rate / 2, bands, sample_rate)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters.to(window.device), persistent=False)

    def raw_frames(self, samples: int) -> int:
        return 1 + max(samples, self.n_fft) // self.hop

    def spectrogram(self, waveform: Tensor, frames: int | None) -> Tensor:
        frames = self.frames(waveform.shape[1]) if frames is None else frames
        return self.scale(self.decibels(self.fill_up(waveform, frames)), frames)

    def fill_up(self, waveform: Tensor, frames: int) -> Tensor:
        """Fill a waveform [batch, samples] up with silence, as far as that comes before the transform.

        The transform mirrors half a window at each end: there has to be a window at least.
        """
        return pad_to(waveform, self.n_fft)

    def decibels(self, waveform: Tensor) -> Tensor:  # [batch, any, mel]
        """Compute mel powers of a waveform [batch, samples] in decibels."""
        # torchaudio's spectrogram is the same, but breaks the graph that torch.compile makes.
        transform = torch.stft(waveform, self.n_fft, self.hop, window=self.window, return_complex=True)
        mel = torch.matmul(transform.abs().square().transpose(1, 2), self.filters)
        # The channel axis keeps the 80 dB range a clip's own: without it the loudest clip of the batch would set the floor.
        return amplitude_to_DB(mel[:, None], multiplier=10.0, amin=FLOOR, db_multiplier=0.0, top_db=RANGE)[:, 0]

    def scale(self, decibels: Tensor, frames: int) -> Tensor:
        """Scale decibels [batch, any, mel], and pad or crop them: [batch, frames, mel], as they reach the encoder."""
        raise NotImplementedError


class BATFrontend(DecibelFrontend):
    """Scaled to [0, 1] per clip, then padded with 0."""

    def scale(self, decibels: Tensor, frames: int) -> Tensor:
        low, high = decibels.amin((1, 2), keepdim=True), decibels.amax((1, 2), keepdim=True)
        scaled = (decibels - low) / (high - low + 1e-8)
        return pad(scaled, (0, 0, 0, frames - scaled.shape[1]))


class ConvNeXtFrontend(DecibelFrontend):
    """Standardised, (decibels - mean) / std; every number of frames. What is short is filled up with silence before."""

    def __init__(self, sample_rate: int, n_fft: int, hop: int, *, bands: int, mean: float, std: float) -> None:
        super().__init__(sample_rate, n_fft, hop, bands=bands)
        self.mean = mean
        self.std = std

    def frames(self, samples: int) -> int:
        return self.raw_frames(samples)

    def fill_up(self, waveform: Tensor, frames: int) -> Tensor:
        return pad_to(super().fill_up(waveform, frames), (frames - 1) * self.hop)

    def scale(self, decibels: Tensor, frames: int) -> Tensor:
        return (decibels[:, :frames] - self.mean) / self.std
