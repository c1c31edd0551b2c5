"""Exported with an encoder, a probe says in onnxruntime what it says in PyTorch, under names that other programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.base.onnx_file import session_of
from oscine.models.errors import OscineError
from oscine.models.export.onnx import Head, export_onnx
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.onnx_head import make_onnx_head
from oscine.probe.heads.registry import PROBES
from oscine.probe.metrics.calibration import Scaling
from oscine.probe.tasks.kinds import TaskKind
from tests.tiny_encoders import TINY, shaken

CLASSES = ["robin", "wren", "great tit"]
SMALL: dict[str, dict[str, Any]] = {
    "EfficientProbe": {"queries": 4},
    "ProtofloatProbe": {"prototypes": 20},
    "ProtobinProbe": {"prototypes": 20},
    "ConvexGatedProbe": {"prototypes": 20},
    "PrototypicalProbe": {"prototypes_per_class": 4},
}


def fitted(encoder: Encoder, kind: str = "LinearProbe", seconds: float | None = None, **head: Any) -> FittedProbe:
    """A probe whose every number counts."""
    torch.manual_seed(0)
    probe = PROBES[kind](encoder, len(CLASSES), **head)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    scaling = Scaling(torch.tensor([1.5]), torch.tensor([-0.25]))
    return FittedProbe(probe.eval(), encoder, head, CLASSES, seconds or encoder.seconds, TaskKind.SINGLE, scaling)


def noise(clips: int, samples: int) -> Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(clips))


class Side(nn.Module):
    """Many heads side by side, because making a file takes seconds."""

    def __init__(self, heads: list[Head]) -> None:
        super().__init__()
        self.modules_of = nn.ModuleList(head.module for head in heads)

    def forward(self, features: Features) -> Tensor:
        return torch.cat([module(features) for module in self.modules_of], dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_probe_comes_out_the_same(name, tmp_path):
    encoder = shaken(name)
    probes = [fitted(encoder, kind, **SMALL.get(kind, {})) for kind in PROBES]
    side = Side([make_onnx_head(probe) for probe in probes])
    head = Head(side, None, [f"{kind} {name}" for kind in PROBES for name in CLASSES], encoder.samples, {})
    session = session_of(str(export_onnx(encoder, tmp_path / "probes.onnx", head=head)), threads=1)
    for clips in (1, 3):
        waveform = noise(clips, encoder.samples)
        embedding, logits = session.run(["embedding", "logits"], {"waveform": waveform.numpy()})
        with torch.no_grad():
            assert_close(torch.from_numpy(embedding), encoder(waveform).pooled, atol=1e-4, rtol=0)
        for probe, own in zip(probes, torch.from_numpy(logits).split(3, dim=1), strict=True):
            assert_close(own.softmax(1), probe(waveform), atol=1e-4, rtol=0)


def test_the_file_says_what_its_readers_ask(tmp_path):
    probe = replace(fitted(shaken("BAT"), seconds=0.6), thresholds=torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    session = session_of(
        str(export_onnx(probe.encoder, tmp_path / "probe.onnx", head=make_onnx_head(probe))), threads=1
    )
    facts = session.get_modelmeta().custom_metadata_map
    # OpenSoundscape's reader
    assert (int(facts["sample_rate"]), float(facts["sample_duration"])) == (16_000, 0.6), (
        "the probe's, not the encoder's"
    )
    assert json.loads(facts["classes"]) == CLASSES
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes[facts["class_outputs_key"]] == ["batch", 3]
    assert shapes[facts["embedding_outputs_key"]] == ["batch", 48]
    # perch-hoplite's, which is told the names
    assert list(shapes) == ["embedding", "logits"]
    assert session.get_inputs()[0].shape == ["batch", 9600]
    # and ours
    assert (facts["probe"], facts["activation"]) == ("LinearProbe", "softmax")
    assert json.loads(facts["thresholds"]) == [0.25, 0.5, 0.75]
    waveform = noise(2, 9600)
    logits = torch.from_numpy(session.run(["logits"], {"waveform": waveform.numpy()})[0])
    assert_close(logits.softmax(1), probe(waveform), atol=1e-4, rtol=0)


def test_a_probe_of_frames_is_refused():
    with pytest.raises(OscineError, match="answers frame by frame, readers of ONNX expect a row a clip"):
        make_onnx_head(fitted(shaken("BAT"), pool="frames"))


def test_a_probe_in_other_numbers_is_refused(tmp_path):
    probe = fitted(shaken("BAT"))
    probe.probe.bfloat16()
    with pytest.raises(OscineError, match=r"weights are torch.bfloat16"):
        export_onnx(probe.encoder, tmp_path / "probe.onnx", head=make_onnx_head(probe))
