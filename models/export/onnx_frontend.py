"""Write the frontends in operators that ONNX knows and runs fast: real numbers, and no Fourier transform of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from oscine.models.encoders.frontends.decibels import FLOOR, RANGE, DecibelFrontend
from oscine.models.encoders.frontends.mel import Frontend, KaldiFbank, KaldiFrontend, pad_to
from oscine.models.errors import OscineError


def graph_of(frontend: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a frontend in such operators; what is not oscine's is left as it is, for the exporter to follow."""
    if isinstance(frontend, DecibelFrontend):
        return DecibelGraph(frontend)
    if isinstance(frontend, KaldiFrontend):
        return KaldiGraph(frontend)
    if isinstance(frontend, Frontend):
        raise OscineError(f"{type(frontend).__name__} has no form for ONNX yet; the encoder runs in PyTorch")
    return frontend


class DecibelGraph(nn.Module):
    """A `DecibelFrontend` without complex numbers: the decibels alone are exchanged."""

    def __init__(self, frontend: DecibelFrontend) -> None:
        super().__init__()
        self.frontend = frontend
        self.n_fft, self.hop = frontend.n_fft, frontend.hop
        self.mel = MelPower(frontend.window, self.n_fft, self.hop, frontend.filters)

    def forward(self, waveform: Tensor) -> Tensor:  # [batch, frames, mel]
        frames = self.frontend.frames(waveform.shape[1])
        waveform = self.frontend.fill_up(waveform, frames)
        half = self.n_fft // 2
        mirrored = F.pad(waveform[:, None], (half, half), mode="reflect")[:, 0]
        mel = self.mel(framed(mirrored, self.n_fft, self.hop, self.mel.columns))
        decibels = 10 * mel.clamp(min=FLOOR).log10()
        floor = decibels.amax((1, 2), keepdim=True) - RANGE
        return self.frontend.scale(torch.maximum(decibels, floor), frames)


class KaldiGraph(nn.Module):
    """A frontend around Kaldi's filter bank, which alone is exchanged."""

    def __init__(self, frontend: KaldiFrontend) -> None:
        super().__init__()
        self.frontend = frontend
        self.fbank = FbankGraph(frontend.fbank)

    def forward(self, waveform: Tensor) -> Tensor:  # [batch, frames, mel]
        frames = self.frontend.frames(waveform.shape[1])
        waveform = pad_to(self.frontend.prepare(waveform), self.fbank.length)
        return self.frontend.pad_and_normalise(self.fbank(waveform), frames)


class FbankGraph(nn.Module):
    """`KaldiFbank` with as much as possible done before samples are repeated in frames.

    Kaldi takes a frame's mean away, then subtracts 0.97 of the sample before. Both are linear, so the samples may come
    first, and 0.03 of the mean is what remains to be taken. Only a frame's first sample, which has none before it, would
    differ, and there the windows are 0.
    """

    def __init__(self, fbank: KaldiFbank) -> None:
        super().__init__()
        self.length, self.hop = fbank.length, fbank.hop
        self.mel = MelPower(fbank.window, fbank.n_fft, fbank.hop, fbank.filters)

    def forward(self, waveform: Tensor) -> Tensor:  # [batch, frames, mel]
        waveform = waveform - waveform.mean(
            1, keepdim=True
        )  # every frame's goes anyway; 0.97 of an offset would be rounded
        part = self.mel.columns
        sums = fitted(waveform, waveform.shape[1] // part * part).unflatten(1, (-1, part)).sum(2)
        means = framed(sums, self.length // part, self.hop // part, 1).sum(0) / self.length
        steps = waveform - 0.97 * F.pad(waveform, (1, -1))
        mel = self.mel(framed(steps, self.length, self.hop, part) - 0.03 * means)
        return mel.clamp(min=torch.finfo(torch.float32).eps).log()


def framed(waveform: Tensor, length: int, hop: int, columns: int) -> Tensor:  # [row, batch, frame, column]
    """Cut a waveform [batch, samples] into overlapping frames, each of them rows of `columns` samples.

    Frames and hops are whole multiples of `columns`. Put together from whole hops; `unfold` would become a gather of single
    samples.
    """
    frames = 1 + (waveform.shape[1] - length) // hop
    hops = math.ceil(length / hop)
    rows = rearrange(
        fitted(waveform, (frames + hops - 1) * hop),
        "batch (hop row column) -> row batch hop column", row=hop // columns, column=columns,
    )  # fmt: skip
    return torch.cat([rows[: (length - late * hop) // columns, :, late : late + frames] for late in range(hops)])


def fitted(waveform: Tensor, samples: int) -> Tensor:  # [batch, samples]
    """Fill a waveform up with 0 or cut it; the graph gets no copy where nothing is to be done."""
    missing = samples - waveform.shape[1]
    return F.pad(waveform, (0, missing)) if missing else waveform


class MelPower(nn.Module):
    """Mel powers of frames [row, batch, frame, column], by a Fourier transform that is two small matrix products.

    onnxruntime has no fast transform of real frames: its own is five times slower than this one, a product with all sines
    and cosines three times. Cooley and Tukey's split: with n_fft = turns x columns, sample n = columns row + column and bin
    k = k1 + turns k2, exp(-2 pi i n k / n_fft) = exp(-2 pi i row k1 / turns) exp(-2 pi i column (k1 + turns k2) / n_fft).
    Real frames need k1 up to turns / 2 only: bin n_fft - k has the power of bin k.
    """

    window: Tensor  # [row, 1, 1, column]
    first: Tensor  # [k1 * part, row], parts real and imaginary
    real: Tensor  # [k1, part * column, k2]
    imaginary: Tensor
    filters: Tensor  # [k1 * k2, mel]

    def __init__(self, window: Tensor, n_fft: int, hop: int, filters: Tensor) -> None:
        super().__init__()
        common = math.gcd(len(window), hop, n_fft)
        self.columns = columns = max(size for size in range(1, math.isqrt(n_fft) + 1) if common % size == 0)
        turns = n_fft // columns
        k1, row = torch.arange(turns // 2 + 1), torch.arange(len(window) // columns)
        k2 = column = torch.arange(columns)
        self.register_buffer("window", rearrange(window, "(row column) -> row 1 1 column", column=columns))
        cos, sin = circle(k1[:, None] * row, turns)
        self.register_buffer("first", rearrange([cos, -sin], "part k1 row -> (k1 part) row").float())
        cos, sin = circle(column[:, None] * (k1[:, None, None] + turns * k2), n_fft)
        self.register_buffer("real", torch.cat([cos, sin], 1).float())
        self.register_buffer("imaginary", torch.cat([-sin, cos], 1).float())
        bins = (k1[:, None] + turns * k2).flatten()
        self.register_buffer("filters", spread(filters, torch.minimum(bins, n_fft - bins)))

    def forward(self, frames: Tensor) -> Tensor:  # [batch, frame, mel]
        count = frames.shape[2]
        inner = self.first @ rearrange(frames * self.window, "row batch frame column -> row (batch frame column)")
        inner = rearrange(inner, "(k1 part) (frame column) -> k1 frame (part column)", part=2, column=self.columns)
        power = (inner @ self.real).square() + (inner @ self.imaginary).square()
        power = rearrange(power, "k1 (batch frame) k2 -> batch frame (k1 k2)", frame=count)
        return power @ self.filters


def circle(turns: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of whole numbers [...] of `parts` of a turn, in float64."""
    angle = (turns % parts).double() * (2 * math.pi / parts)
    return angle.cos(), angle.sin()


def spread(filters: Tensor, bins: Tensor) -> Tensor:  # [outputs, mel]
    """Spread filters [bins, mel] over outputs that give some bins twice, which count half; bins past them count 0."""
    every = torch.zeros(int(bins.max()) + 1, filters.shape[1])
    every[: len(filters)] = filters
    return (every / bins.bincount()[:, None])[bins]
