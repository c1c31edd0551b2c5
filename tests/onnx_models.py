"""Small ONNX files as other libraries publish them, written by torch: with a map of patches or without, and with faults."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from oscine.models import checkpoints
from tests.hub_server import sha256

RATE, SAMPLES, TIME, FREQ, DIM, CLASSES = 8_000, 4_000, 8, 2, 12, 5
SETTINGS: dict[str, Any] = {"sample_rate": RATE, "seconds": SAMPLES / RATE}
MAPPED: dict[str, Any] = SETTINGS | {"embedding": "embedding", "patch_map": "spatial_embedding", "scores": "label"}
NAMES = ["wren", "robin", "owl", "swift", "crane"]


class Small(nn.Module):
    """The outputs of Perch 2, small: vector, map, scores. half: in float16; ratio: of the loudest sample, NaN on silence."""

    def __init__(self, half: bool = False, ratio: bool = False) -> None:
        super().__init__()
        self.half_inside, self.ratio = half, ratio
        self.patch = nn.Linear(SAMPLES // TIME, FREQ * DIM)
        self.label = nn.Linear(DIM, CLASSES)
        if half:
            self.half()

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.ratio:
            waveform = waveform / waveform.abs().amax(1, keepdim=True)
        waveform = waveform.to(self.patch.weight.dtype)
        frames = waveform.reshape(-1, TIME, SAMPLES // TIME)
        spatial = self.patch(frames).reshape(-1, TIME, FREQ, DIM).tanh()
        embedding = spatial.mean((1, 2))
        return embedding.float(), spatial.float(), self.label(embedding).float()


def small(half: bool = False, ratio: bool = False) -> Small:
    """Always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small(half, ratio).eval()


@cache
def exported(half: bool = False, ratio: bool = False, batch: int | None = None, half_input: bool = False) -> bytes:
    """The bytes of its file; batch: that it takes and no other; half_input: its waveform in float16, too."""
    waveform = torch.zeros(batch or 2, SAMPLES, dtype=torch.float16 if half_input else torch.float32)
    free = {"waveform": {0: torch.export.Dim("batch")}} if batch is None else None
    program = torch.onnx.export(
        small(half, ratio), (waveform,), dynamo=True, dynamic_shapes=free, verbose=False,
        input_names=["waveform"], output_names=["embedding", "spatial_embedding", "label"],
    )  # fmt: skip
    assert program is not None
    return program.model_proto.SerializeToString()


def write_small(folder: Path, **kind: Any) -> Path:
    path = folder / "small.onnx"
    path.write_bytes(exported(**kind))
    return path


def write_with_data(folder: Path, location: str = "small.onnx.data") -> Path:
    """The same with its weights in a file beside it; location: what it says of where."""
    path = with_data(exported(), folder, "small.onnx")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


class PerchLayout(nn.Module):
    """The inputs and outputs of perch_v2.onnx at their sizes, with few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.classes = nn.Parameter(torch.randn(1536)), nn.Parameter(torch.randn(14_795))

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        bands = inputs.reshape(-1, 16, 4, 2500).abs().mean(3, keepdim=True)
        spatial = (bands * self.dim).tanh()
        embedding = spatial.mean((1, 2))
        return embedding, spatial, inputs.reshape(-1, 500, 320)[..., :128], 8 + embedding[:, :1] * self.classes


class BirdNETLayout(nn.Module):
    """The inputs and outputs of BirdNET+ 3 at their sizes, in their order, with few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.classes = nn.Parameter(torch.randn(1280)), nn.Parameter(torch.randn(11_560))

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        loud = audio.abs().mean(1, keepdim=True)
        return (loud * self.classes).sigmoid(), (loud * self.dim).tanh()


PERCH_OUTPUTS = ["embedding", "spatial_embedding", "spectrogram", "label"]
LAYOUTS: dict[str, tuple[type[nn.Module], int, list[str], list[str]]] = {
    "perch_v2": (PerchLayout, 160_000, ["inputs"], PERCH_OUTPUTS),
    "birdnet_v3": (BirdNETLayout, 96_000, ["audio"], ["first", "second"]),
}


def layout(name: str) -> nn.Module:
    """Always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LAYOUTS[name][0]().eval()


@cache
def published(name: str) -> bytes:
    """A file in the layout in which an architecture is published."""
    _, samples, inputs, outputs = LAYOUTS[name]
    program = torch.onnx.export(
        layout(name), (torch.zeros(2, samples),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False, input_names=inputs, output_names=outputs,
    )  # fmt: skip
    assert program is not None
    return program.model_proto.SerializeToString()


# As the publishers write them: one column under its name; several, of which one is read.
CLASS_LISTS = {
    "perch_v2": "\n".join(["inat2024_fsd50k", *(f"Turdus species{number}" for number in range(14_795))]),
    "birdnet_v3": "\n".join(
        ["id;sci_name;com_name", *(f"{number};Turdus species{number};Thrush {number}" for number in range(11_560))]
    ),
}


def pin(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> None:
    """Let a stand-in's hash be the one that a row of the zoo knows."""
    rows = (row._replace(sha256=sha256(content)) if row.name == name else row for row in checkpoints.PUBLISHED)
    monkeypatch.setattr(checkpoints, "PUBLISHED", tuple(rows))


def with_data(content: bytes, folder: Path, name: str) -> Path:
    """Write a file with its weights in NAME.data beside it."""
    model = onnx.load_model_from_string(content)
    onnx.save_model(model, folder / name, save_as_external_data=True, location=f"{name}.data", size_threshold=0)
    return folder / name
