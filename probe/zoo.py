"""The probes by the names of their classes, as configurations and files of fitted probes have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.models.lazy import LazyClasses

if TYPE_CHECKING:
    from oscine.probe.probe import Probe

PROBES: LazyClasses[Probe] = LazyClasses(
    "oscine.probe",
    {
        "LinearProbe": "linear",
        "MLPProbe": "mlp",
        "LayerGatedProbe": "layer_gated",
        "Head2ToeProbe": "head2toe",
        "AttentiveProbe": "attentive",
        "EfficientProbe": "efficient",
        "SimPoolProbe": "simpool",
        "GatedAttentionProbe": "gated_attention",
        "PrototypicalProbe": "prototypical",
        "ProtofloatProbe": "protobin",
        "ProtobinProbe": "protobin",
        "ConvexGatedProbe": "convex_gated",
    },
)
