"""Everything needed to judge a frozen encoder: probes from its features to logits."""

from oscine.probe.attentive import AttentiveProbe
from oscine.probe.convex_gated import ConvexGatedProbe
from oscine.probe.linear import LinearProbe
from oscine.probe.probe import Probe
from oscine.probe.prototypical import PrototypicalProbe

__all__ = ["AttentiveProbe", "ConvexGatedProbe", "LinearProbe", "Probe", "PrototypicalProbe"]
