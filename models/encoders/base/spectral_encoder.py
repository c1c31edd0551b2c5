"""Define what encoders share that compute on the spectrogram of a frontend of ours, whatever they make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.frontends.mel import Frontend, Picture


class SpectralEncoder(Encoder):
    """An encoder of a spectrogram, together with the frontend that makes it.

    frontend     waveform [batch, samples] to spectrogram [batch, frames, mel]
    """

    spectral = True

    def __init__(self, frontend: Frontend, **sizes: Any) -> None:
        super().__init__(sample_rate=frontend.sample_rate, **sizes)
        self.frontend = frontend

    @property
    def frontend_name(self) -> str:
        return self.frontend.name

    @property
    def preparing(self) -> Callable[[Tensor], Tensor]:
        return self.frontend

    def picture(self, waveform: Tensor, samples: int | None = None) -> Picture:
        """Return what the encoder sees of a waveform [samples]."""
        frames = self.frontend.frames(samples or len(waveform))
        return Picture(self.frontend(self.on_device(waveform[None]), frames)[0].cpu(), self.frontend.mel_scale)
