"""The probes by the names of their classes, as configurations and files of fitted probes have them."""

from __future__ import annotations

from oscine.probe.attentive import AttentiveProbe
from oscine.probe.convex_gated import ConvexGatedProbe
from oscine.probe.efficient import EfficientProbe
from oscine.probe.gated_attention import GatedAttentionProbe
from oscine.probe.head2toe import Head2ToeProbe
from oscine.probe.layer_gated import LayerGatedProbe
from oscine.probe.linear import LinearProbe
from oscine.probe.mlp import MLPProbe
from oscine.probe.probe import Probe
from oscine.probe.protobin import ProtobinProbe, ProtofloatProbe
from oscine.probe.prototypical import PrototypicalProbe
from oscine.probe.simpool import SimPoolProbe

PROBES: dict[str, type[Probe]] = {
    probe.__name__: probe
    for probe in (
        LinearProbe, MLPProbe, LayerGatedProbe, Head2ToeProbe, AttentiveProbe, EfficientProbe, SimPoolProbe,
        GatedAttentionProbe, PrototypicalProbe, ProtofloatProbe, ProtobinProbe, ConvexGatedProbe,
    )
}  # fmt: skip
