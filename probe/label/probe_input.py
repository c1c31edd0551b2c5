"""Compute what a probe's last linear map reads of clips, for a table that stands in for probes that read whole clips."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from oscine.models.embed.extractor import Extractor
from oscine.models.encoders.base.fingerprint import digest
from oscine.models.encoders.base.precision import FLOAT32
from oscine.models.errors import OscineError
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.heads.probe import Probe

PROBE_INPUT = "probe_input"  # the column, and in the table's metadata its pool
LAST_MAPS = ("fc", "last_layer")  # as probes call it


class ProbeInputs(Extractor):
    """Clips to the input of a probe's last linear map, [clip, 1, numbers]. precision: of the encoder, as in `Extractor`."""

    def __init__(self, fitted: FittedProbe, precision: str = FLOAT32) -> None:
        if fitted.frame_seconds is not None:
            raise OscineError("this probe answers frame by frame; take one that has an answer a clip")
        self.fitted, self.last = fitted, last_map(fitted.probe)
        width = self.last.in_features if isinstance(self.last, nn.Linear) else self.last.get_parameter("weight").numel()
        super().__init__(fitted.encoder, {PROBE_INPUT: width}, fitted.samples, precision)

    def compute(self, prepared: Tensor) -> Tensor:
        seen: list[Tensor] = []
        features = self.encoder.features(prepared, self.fitted.probe.needs.layers).to(torch.float32)
        handle = self.last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        try:
            with torch.autocast(prepared.device.type, enabled=False):
                self.fitted.probe(features)
        finally:
            handle.remove()
        return seen[0][:, None]

    def describe(self) -> dict[str, Any]:
        column = {"pool": PROBE_INPUT, "layer": self.encoder.depth - 1, "width": self.row_width}
        probe = self.fitted.probe
        return {
            "columns": {PROBE_INPUT: column},
            "probe": type(probe).__name__,
            "probe_fingerprint": digest(probe.stored()),
        }


def last_map(probe: Probe) -> nn.Module:
    """Return the last linear map of a probe, which gives its logits; raise where it has none."""
    found = next((module for name, module in probe.named_children() if name in LAST_MAPS), None)
    if isinstance(found, nn.Sequential):
        found = found[-1]
    if found is None:
        raise OscineError(
            f"{type(probe).__name__} has no last linear map; take a probe of another kind, such as LinearProbe"
        )
    return found
