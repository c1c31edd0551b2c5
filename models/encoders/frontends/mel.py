"""Compute the spectrograms that encoders were trained on: batched, on the module's device, clip by clip."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from oscine.models.errors import OscineError

MELS = 128  # mel bands that patches are cut from, and those of most frontends
KALDI_LOWEST = 20.0  # Hz, where Kaldi's bands begin

PATCH = 16  # frames and mel bands a patch covers, in every encoder of patches
KILOHERTZ = (0.5, 1, 2, 4, 8)  # that axes show


class MelScale(NamedTuple):
    """The scale of a spectrogram: its frames in seconds and its mel bands in hertz.

    A frame lies every `frame_seconds`; bands are even in mel from `lowest` to `highest` Hz. The mel scale is 1127
    ln(1 + f / 700). Bands are triangles: each reaches from the middle of the one below to that of the one above.
    """

    frame_seconds: float
    lowest: float
    highest: float
    bands: int

    def hertz(self, edge: float) -> float:
        """Return where band `edge` begins, that is, where its triangle crosses that of the band below."""
        low, step = self._mel()
        return 700.0 * math.expm1(low + (edge + 0.5) * step)

    def edge(self, hertz: float) -> float:
        """Return the band that begins there; between two of them, in parts."""
        low, step = self._mel()
        return (math.log1p(hertz / 700.0) - low) / step - 0.5

    def ticks(self) -> dict[float, str]:
        """Return where an axis of bands has its marks, and the kHz that stand there."""
        return {
            self.edge(1000 * number): f"{number:g}" for number in KILOHERTZ if self.edge(1000 * number) < self.bands
        }

    def _mel(self) -> tuple[float, float]:
        low, high = (math.log1p(hertz / 700.0) for hertz in (self.lowest, self.highest))
        return low, (high - low) / (self.bands + 1)


class Float32Buffers(nn.Module):
    """Keeps its buffers in float32 whatever its weights are cast to: a window in half precision is another window."""

    def _apply(self, fn: Any, recurse: bool = True) -> Float32Buffers:
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, table in exact.items():
            setattr(self, name, table.to(getattr(self, name).device))
        return self


class Frontend(Float32Buffers):
    """Waveform [batch, samples] to spectrogram [batch, frames, mel]. No clip depends on the others of its batch.

    `frames`: how many to return; padded at the end, or cropped. None is as many as `frames()` counts.
    `hop`: samples from one frame to the next. `bands`: how many; `lowest`: Hz, where they begin; they end at half the
    sample rate.
    Tables are computed, not stored: they are buffers outside the state_dict, whose names are the published ones alone.
    """

    hop: int
    lowest: float

    def __init__(self, sample_rate: int, bands: int = MELS) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.bands = bands

    @property
    def name(self) -> str:
        """As records have it: another one where a new version makes another spectrogram of the same waveform."""
        return type(self).__name__

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next."""
        return self.hop / self.sample_rate

    @property
    def mel_scale(self) -> MelScale:
        """The seconds of its frames and the hertz of its bands."""
        return MelScale(self.frame_seconds, self.lowest, self.sample_rate / 2, self.bands)

    def frames(self, samples: int) -> int:
        """Frames that a waveform of so many samples comes to, in whole patches: by default padded to the next one."""
        return math.ceil(self.raw_frames(samples) / PATCH) * PATCH

    def raw_frames(self, samples: int) -> int:
        """Frames that a waveform of so many samples comes to, before padding."""
        raise NotImplementedError

    def forward(self, waveform: Tensor, frames: int | None = None) -> Tensor:
        """Compute in float32 even under autocast: a spectrogram in half precision is another spectrogram."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.spectrogram(waveform.float(), frames)

    def spectrogram(self, waveform: Tensor, frames: int | None) -> Tensor:
        """Waveform [batch, samples] to [batch, frames, mel], both in float32."""
        raise NotImplementedError


def symmetric_hann(length: int) -> Tensor:
    return torch.hann_window(length, periodic=False)


def povey_window(length: int) -> Tensor:  # [length]
    """Kaldi's own window: a Hann window with somewhat broader flanks."""
    return symmetric_hann(length) ** 0.85


def pad_to(waveform: Tensor, samples: int) -> Tensor:  # [batch, samples or more]
    """Fill a waveform [batch, any] up with silence to so many samples at least."""
    return pad(waveform, (0, max(0, samples - waveform.shape[1])))


class KaldiFrontend(Frontend):
    """Kaldi's log mel filter bank, standardised: (log mel - mean) / (2 std). Subclasses say how ends are padded.

    A waveform shorter than Kaldi's window of 25 ms is filled up with silence.
    """

    lowest = KALDI_LOWEST

    def __init__(
        self, sample_rate: int, mean: float, std: float, window: Callable[[int], Tensor] = symmetric_hann
    ) -> None:
        super().__init__(sample_rate)
        self.mean = mean
        self.std = std
        self.fbank = KaldiFbank(sample_rate, window)
        self.hop = self.fbank.hop

    def raw_frames(self, samples: int) -> int:
        return self.fbank.frames(max(samples, self.fbank.length))

    def spectrogram(self, waveform: Tensor, frames: int | None) -> Tensor:
        frames = self.frames(waveform.shape[1]) if frames is None else frames
        waveform = self.prepare(waveform)
        return self.pad_and_normalise(self.fbank(pad_to(waveform, self.fbank.length)), frames)

    def prepare(self, waveform: Tensor) -> Tensor:  # [batch, samples]
        """Subtract a clip's mean from its waveform [batch, samples], as most recipes do before Kaldi."""
        return waveform - waveform.mean(1, keepdim=True)

    def pad_and_normalise(self, fbank: Tensor, frames: int) -> Tensor:
        """Pad log mel [batch, any, mel] in time and normalise it: [batch, frames, mel], as it reaches the encoder."""
        raise NotImplementedError

    def normalise(self, fbank: Tensor) -> Tensor:  # [batch, frames, mel]
        return (fbank - self.mean) / (2 * self.std)


class BirdMAEFrontend(KaldiFrontend):
    """Padded in time with the clip's own minimum.

    A waveform shorter than a clip is filled up with silence, as in pretraining.
    """

    def __init__(self, sample_rate: int, samples: int, mean: float, std: float) -> None:
        super().__init__(sample_rate, mean, std)
        self.samples = samples

    def raw_frames(self, samples: int) -> int:
        return self.fbank.frames(max(samples, self.samples))

    def prepare(self, waveform: Tensor) -> Tensor:
        return super().prepare(pad_to(waveform, self.samples))

    def pad_and_normalise(self, fbank: Tensor, frames: int) -> Tensor:
        floor = fbank.amin((1, 2), keepdim=True).expand(-1, max(0, frames - fbank.shape[1]), MELS)
        return self.normalise(torch.cat([fbank[:, :frames], floor], dim=1))


class AudioMAEFrontend(KaldiFrontend):
    """Padded in time to `clip_frames` at least, with 0 before it is standardised: the end is loud, as in pretraining."""

    def __init__(self, sample_rate: int, clip_frames: int, mean: float, std: float) -> None:
        if clip_frames % PATCH:
            raise OscineError(f"frames={clip_frames}, expected a multiple of {PATCH}, such as 1024")
        super().__init__(sample_rate, mean, std)
        self.clip_frames = clip_frames

    def frames(self, samples: int) -> int:
        return max(self.clip_frames, super().frames(samples))

    def pad_and_normalise(self, fbank: Tensor, frames: int) -> Tensor:
        return self.normalise(pad(fbank, (0, 0, 0, frames - fbank.shape[1])))


class EATFrontend(KaldiFrontend):
    """Padded in time with 0 after it is standardised: the mean of the data set, neither silence nor the clip's floor."""

    def pad_and_normalise(self, fbank: Tensor, frames: int) -> Tensor:
        return pad(self.normalise(fbank), (0, 0, 0, frames - fbank.shape[1]))


class BEATsFrontend(EATFrontend):
    """Of samples scaled to the range of 16-bit integers, their mean left in, through Povey's window.

    Frames that do not fill a last patch are left out, as its authors' convolution does; less than a patch is filled up.
    """

    def __init__(self, sample_rate: int, mean: float, std: float) -> None:
        super().__init__(sample_rate, mean, std, povey_window)

    @property
    def name(self) -> str:
        return "BEATsFrontend, whole patches"  # version 0.1 filled the last one up: tables and probes of both differ

    def frames(self, samples: int) -> int:
        return max(PATCH, self.raw_frames(samples) // PATCH * PATCH)

    def prepare(self, waveform: Tensor) -> Tensor:
        return waveform * 2**15


class KaldiFbank(Float32Buffers):
    """Kaldi's log mel filter bank for a batch: waveform [batch, samples] to [batch, frames, mel].

    Equals `torchaudio.compliance.kaldi.fbank`, which takes one clip at a time, with a window of 25 ms every 10 ms, a mel
    range from 20 Hz to half the sample rate, no dither and no energy.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, window: Callable[[int], Tensor] = symmetric_hann) -> None:
        super().__init__()
        self.length = sample_rate * 25 // 1000
        self.hop = sample_rate * 10 // 1000
        self.n_fft = 2 ** math.ceil(math.log2(self.length))
        self.register_buffer("window", window(self.length), persistent=False)
        self.register_buffer("filters", kaldi_filters(self.n_fft, sample_rate), persistent=False)

    def frames(self, samples: int) -> int:
        return 1 + (samples - self.length) // self.hop

    def forward(self, waveform: Tensor) -> Tensor:
        # One clip's frames fit a CPU's cache, a batch's do not: there clip after clip is three times as fast as all at once.
        one_by_one = waveform.device.type == "cpu" and not torch.compiler.is_compiling()  # for batches of any size
        pieces = waveform.split(1) if one_by_one else [waveform]
        return torch.cat([self._fbank(piece) for piece in pieces])

    def _fbank(self, waveform: Tensor) -> Tensor:
        frames = waveform.unfold(1, self.length, self.hop)
        frames = frames - frames.mean(2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.window, n=self.n_fft)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = torch.matmul(power[..., :-1], self.filters)  # the bin at the Nyquist frequency counts for nothing
        return mel.clamp(min=torch.finfo(torch.float32).eps).log()


def kaldi_filters(n_fft: int, sample_rate: int) -> Tensor:  # [n_fft / 2, mel]
    """Triangles that are even in Kaldi's mel scale, 1127 ln(1 + f / 700), from 20 Hz to half the sample rate."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * (1.0 + hertz / 700.0).log()

    low, high = mel(torch.tensor([KALDI_LOWEST, sample_rate / 2], dtype=torch.float64, device="cpu")).tolist()
    step = (high - low) / (MELS + 1)
    bins = mel(sample_rate / n_fft * torch.arange(n_fft // 2))[:, None]
    edges = low + torch.arange(MELS + 2) * step
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0.0)


class Picture(NamedTuple):
    """A spectrogram for people to look at, [frames, mel] on the CPU, and its scale in seconds and hertz."""

    spectrogram: Tensor
    mel_scale: MelScale


@torch.no_grad()
def log_mel_picture(waveform: Tensor, sample_rate: int) -> Picture:
    """Return the log mel bands of a waveform [samples], every 10 ms, without its mean, whatever the encoder computes on."""
    fbank = KaldiFbank(sample_rate)
    waveform = pad_to(waveform[None].float().cpu(), fbank.length)
    mel_scale = MelScale(fbank.hop / sample_rate, KALDI_LOWEST, sample_rate / 2, MELS)
    return Picture(fbank(waveform - waveform.mean())[0], mel_scale)
