"""The probes by the names of their classes, as configurations and files of fitted probes have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.models.lazy import LazyClasses

if TYPE_CHECKING:
    from oscine.probe.heads.probe import Probe

PROBES: LazyClasses[Probe] = LazyClasses(
    "oscine.probe",
    {
        "LinearProbe": "heads.linear",
        "MLPProbe": "heads.mlp",
        "LayerGatedProbe": "heads.layer_gated",
        "Head2ToeProbe": "heads.head2toe",
        "AttentiveProbe": "heads.attentive",
        "EfficientProbe": "heads.efficient",
        "SimPoolProbe": "heads.simpool",
        "GatedAttentionProbe": "heads.gated_attention",
        "PrototypicalProbe": "heads.prototypical",
        "ProtofloatProbe": "heads.protobin",
        "ProtobinProbe": "heads.protobin",
        "ConvexGatedProbe": "heads.convex_gated",
    },
)
