"""Find probes by the names of their classes, as configurations and files of fitted probes have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.models.plugins.classes import Classes

if TYPE_CHECKING:
    from oscine.probe.heads.probe import Probe

PROBES: Classes[Probe] = Classes(
    "probe",
    "oscine.probe.heads.probe:Probe",
    "oscine.probe",
    {
        "LinearProbe": "heads.linear",
        "MLPProbe": "heads.linear",
        "LayerGatedProbe": "heads.linear",
        "Head2ToeProbe": "heads.linear",
        "AttentiveProbe": "heads.attentive",
        "EfficientProbe": "heads.attentive",
        "SimPoolProbe": "heads.attentive",
        "GatedAttentionProbe": "heads.attentive",
        "PrototypicalProbe": "heads.prototypical",
        "ProtofloatProbe": "heads.protobin",
        "ProtobinProbe": "heads.protobin",
        "ConvexGatedProbe": "heads.convex_gated",
    },
)


def register_probe(kind: type[Probe]) -> type[Probe]:
    """Make a probe of your own known by the name of its class, as `probe` in a YAML; also as a decorator of the class.

    Its constructor takes an encoder and how many classes there are, then its own settings. A name that another probe has is
    an error.
    """
    return PROBES.register(kind)
