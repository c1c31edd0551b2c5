"""Everything needed to judge a frozen encoder, and to use what was learnt: probes from its features to logits."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.probe.deploy.fitted_probe import FittedProbe
    from oscine.probe.deploy.predict import predict_file, predict_folder, predict_recordings
    from oscine.probe.deploy.publish import push_probe_to_hub
    from oscine.probe.deploy.saved_probe import load_probe, save_probe
    from oscine.probe.features.encoding import encode_task
    from oscine.probe.fit.judge import judge
    from oscine.probe.fit.settings import FitSettings
    from oscine.probe.heads.attentive import (
        AttentiveProbe,
        EfficientProbe,
        GatedAttentionProbe,
        MultiLayerAttentionProbe,
        SimPoolProbe,
    )
    from oscine.probe.heads.convex_gated import ConvexGatedProbe
    from oscine.probe.heads.linear import Head2ToeProbe, LayerGatedProbe, LinearProbe, MLPProbe
    from oscine.probe.heads.probe import Probe
    from oscine.probe.heads.protobin import ProtobinProbe, ProtofloatProbe
    from oscine.probe.heads.prototypical import PrototypicalProbe
    from oscine.probe.heads.registry import register_probe
    from oscine.probe.run.run import run_probe
    from oscine.probe.run.settings import ProbeRunSettings
    from oscine.probe.tasks.settings import TaskSettings
    from oscine.probe.tasks.task import read_task
else:
    homes = {
        "deploy.fitted_probe": ["FittedProbe"],
        "deploy.predict": ["predict_file", "predict_folder", "predict_recordings"],
        "deploy.publish": ["push_probe_to_hub"],
        "deploy.saved_probe": ["load_probe", "save_probe"],
        "features.encoding": ["encode_task"],
        "fit.judge": ["judge"],
        "fit.settings": ["FitSettings"],
        "heads.attentive": [
            "AttentiveProbe",
            "EfficientProbe",
            "GatedAttentionProbe",
            "MultiLayerAttentionProbe",
            "SimPoolProbe",
        ],
        "heads.convex_gated": ["ConvexGatedProbe"],
        "heads.linear": ["Head2ToeProbe", "LayerGatedProbe", "LinearProbe", "MLPProbe"],
        "heads.probe": ["Probe"],
        "heads.protobin": ["ProtobinProbe", "ProtofloatProbe"],
        "heads.prototypical": ["PrototypicalProbe"],
        "heads.registry": ["register_probe"],
        "run.run": ["run_probe"],
        "run.settings": ["ProbeRunSettings"],
        "tasks.settings": ["TaskSettings"],
        "tasks.task": ["read_task"],
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "AttentiveProbe", "ConvexGatedProbe", "EfficientProbe", "FitSettings", "FittedProbe", "GatedAttentionProbe",
    "Head2ToeProbe", "LayerGatedProbe", "LinearProbe", "MLPProbe", "MultiLayerAttentionProbe", "Probe", "ProbeRunSettings",
    "ProtobinProbe", "ProtofloatProbe", "PrototypicalProbe", "SimPoolProbe", "TaskSettings", "encode_task", "judge",
    "load_probe", "predict_file", "predict_folder", "predict_recordings", "push_probe_to_hub", "read_task",
    "register_probe", "run_probe", "save_probe",
]  # fmt: skip
