"""Everything needed to judge a frozen encoder, and to use what was learnt: probes from its features to logits."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.probe.attentive import AttentiveProbe
    from oscine.probe.convex_gated import ConvexGatedProbe
    from oscine.probe.efficient import EfficientProbe
    from oscine.probe.fitted import FittedProbe
    from oscine.probe.gated_attention import GatedAttentionProbe
    from oscine.probe.head2toe import Head2ToeProbe
    from oscine.probe.layer_gated import LayerGatedProbe
    from oscine.probe.linear import LinearProbe
    from oscine.probe.mlp import MLPProbe
    from oscine.probe.predict import predict_file, predict_folder, predict_recordings
    from oscine.probe.probe import Probe
    from oscine.probe.protobin import ProtobinProbe, ProtofloatProbe
    from oscine.probe.prototypical import PrototypicalProbe
    from oscine.probe.publication import push_probe_to_hub
    from oscine.probe.saved import load_probe, save_probe
    from oscine.probe.simpool import SimPoolProbe
else:
    homes = {
        "AttentiveProbe": "attentive",
        "ConvexGatedProbe": "convex_gated",
        "EfficientProbe": "efficient",
        "FittedProbe": "fitted",
        "GatedAttentionProbe": "gated_attention",
        "Head2ToeProbe": "head2toe",
        "LayerGatedProbe": "layer_gated",
        "LinearProbe": "linear",
        "MLPProbe": "mlp",
        "Probe": "probe",
        "ProtobinProbe": "protobin",
        "ProtofloatProbe": "protobin",
        "PrototypicalProbe": "prototypical",
        "SimPoolProbe": "simpool",
        "load_probe": "saved",
        "predict_file": "predict",
        "predict_folder": "predict",
        "predict_recordings": "predict",
        "push_probe_to_hub": "publication",
        "save_probe": "saved",
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "AttentiveProbe",
    "ConvexGatedProbe",
    "EfficientProbe",
    "FittedProbe",
    "GatedAttentionProbe",
    "Head2ToeProbe",
    "LayerGatedProbe",
    "LinearProbe",
    "MLPProbe",
    "Probe",
    "ProtobinProbe",
    "ProtofloatProbe",
    "PrototypicalProbe",
    "SimPoolProbe",
    "load_probe",
    "predict_file",
    "predict_folder",
    "predict_recordings",
    "push_probe_to_hub",
    "save_probe",
]
