"""Make a fitted probe a head for ONNX: from the encoder's features to calibrated logits."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.models.export.onnx import Head
from oscine.probe.deploy.fitted_probe import FittedProbe, check_whole


def make_onnx_head(fitted: FittedProbe) -> Head:
    """Make the head for `export_onnx`.

    The file says which activation makes probabilities of the logits, and from which on to say yes.
    """
    check_whole(fitted, "exported")
    if fitted.frame_seconds is not None:
        raise OscineError(
            "this probe answers frame by frame, readers of ONNX expect a row a clip; fit one with another pool"
        )
    facts = {
        "probe": type(fitted.probe).__name__,
        "activation": fitted.kind.activation,
        "thresholds": json.dumps(None if fitted.thresholds is None else fitted.thresholds.tolist()),
    }
    return Head(CalibratedLogits(fitted), fitted.probe.needs.layers, fitted.classes, fitted.samples, facts)


class CalibratedLogits(nn.Module):
    """From features to logits [batch, classes] whose activation is what the fitted probe says."""

    scale: Tensor
    shift: Tensor

    def __init__(self, fitted: FittedProbe) -> None:
        super().__init__()
        self.probe = fitted.probe
        scale, shift = fitted.scaling or (torch.ones(1), torch.zeros(1))
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.float())

    def forward(self, features: Features) -> Tensor:
        return self.probe(features) * self.scale + self.shift
