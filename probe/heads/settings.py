"""Define the probes by name, and the settings of each: values and their meaning, without torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from oscine.models.encoders.base.features import Selection
from oscine.models.errors import OscineError

# That probes of several layers take: the pooled vector is of no layer, and the bands of every frame are too many numbers.
LAYER_POOLS = (Selection.CLS, Selection.MEAN, Selection.BANDS, Selection.FRAMES)
POOLS = (*LAYER_POOLS, Selection.FRAME_BANDS, Selection.POOLED)
FRAME_WISE = (Selection.FRAMES, Selection.FRAME_BANDS)  # of probes that answer for every step of time
NORMS = ("layer", "batch", "none")
SETS = ("clip", Selection.FRAMES)


@dataclass(frozen=True)
class HeadSettings:
    """What the settings of every probe say of its class."""

    spatial: ClassVar[bool] = False  # whether it compares the patches of a clip, so that there must be several


@dataclass(frozen=True, kw_only=True)
class OneLayer(HeadSettings):
    """Settings of a probe that reads one layer.

    Args:
        layer: number of the block whose output is read, from 0, or back from -1, the last: published probes read that.
    """

    layer: int = -1


@dataclass(frozen=True, kw_only=True)
class ManyLayers(HeadSettings):
    """Settings of a probe that reads all layers.

    Args:
        layer: number of the block that is read instead of all: null is all.
    """

    layer: int | None = None


@dataclass(frozen=True)
class VectorSettings(HeadSettings):
    """Settings of a linear layer on one vector a clip, or one a frame.

    Args:
        pool: "cls", "mean", "frames" (logits [batch, time, classes]), "bands" (the mean over time of every freq, side by
            side, as in arXiv 2204.12260: pitch is kept, which the mean over all patches loses), or, of one layer only,
            "frame_bands" (every freq side by side, frame by frame) and "pooled": the published model's own vector, of its
            last layer, on which Bird-MAE's paper probes, with norm "none".
        norm: before the linear layer: "layer", a trained LayerNorm, as both papers do; "batch", batch norm without weights,
            as in arXiv 2111.06377, which also reads features that differ little between clips; or "none".
        dropout: of that layer's input.
    """

    pool: str = "cls"
    norm: str = "layer"
    dropout: float = 0.0

    pools: ClassVar[Collection[str]] = POOLS

    def __post_init__(self) -> None:
        choose(self.pool, self.pools)
        choose(self.norm, NORMS)
        check_dropout(self.dropout)


@dataclass(frozen=True)
class LinearSettings(OneLayer, VectorSettings):
    """Settings of LinearProbe: a linear layer on one vector a clip, or one a frame."""


@dataclass(frozen=True)
class MLPSettings(LinearSettings):
    """Settings of MLPProbe: a hidden layer between the vector and the classes. The paper reads "pooled" as it is.

    Args:
        hidden: numbers between the two layers.
    """

    pool: str = "pooled"
    norm: str = "none"
    hidden: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1:
            raise OscineError(f"{self.hidden} hidden numbers; the probe needs at least 1, the paper has 512")


@dataclass(frozen=True)
class LayerGatedSettings(ManyLayers, VectorSettings):
    """Settings of LayerGatedProbe: a linear layer on a learnt mixture of all layers, which has no "pooled"."""

    pools: ClassVar[Collection[str]] = LAYER_POOLS


@dataclass(frozen=True)
class Head2ToeSettings(ManyLayers, VectorSettings):
    """Settings of Head2ToeProbe: a linear layer on all layers side by side, which have no "pooled".

    Args:
        lasso: weight of the penalty, as in arXiv 2602.16305, whose AudioSet tables take 0.
    """

    lasso: float = 1e-4

    pools: ClassVar[Collection[str]] = LAYER_POOLS


@dataclass(frozen=True)
class AttentionSettings(HeadSettings):
    """Settings of attention over patches.

    Args:
        pool: "clip", or "frames" to look at the freq of each time step by itself, with logits [batch, time, classes].
    """

    pool: str = "clip"

    spatial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        choose(self.pool, SETS)


@dataclass(frozen=True)
class AttentiveSettings(OneLayer, AttentionSettings):
    """Settings of AttentiveProbe: one learnt query attends to the patches."""


@dataclass(frozen=True)
class MultiLayerAttentionSettings(ManyLayers, AttentionSettings):
    """Settings of MultiLayerAttentionProbe: in every layer a learnt query attends to the patches."""


@dataclass(frozen=True)
class EfficientSettings(AttentiveSettings):
    """Settings of EfficientProbe: several learnt queries attend to the patches.

    Args:
        queries: how many; a divisor of the encoder's width, of which each gives an equal share.
    """

    queries: int = 32


@dataclass(frozen=True)
class SimPoolSettings(AttentiveSettings):
    """Settings of SimPoolProbe: the mean patch attends to the patches."""


@dataclass(frozen=True)
class GatedAttentionSettings(AttentiveSettings):
    """Settings of GatedAttentionProbe: a small network weighs every patch.

    Args:
        gated: false leaves the sigmoid out, as the ABMILP of arXiv 2509.24901 does.
    """

    gated: bool = True


@dataclass(frozen=True)
class PrototypicalSettings(OneLayer):
    """Settings of PrototypicalProbe: every class compares the patches with prototypes of its own.

    Args:
        prototypes_per_class: row r of `prototype_vectors` belongs to class r // prototypes_per_class.
        focal: take patches relative to CLS.
        prototype_lr: the prototypes' own learning rate.
        authors_reshape: lay the patches out as the authors do, as freq rows of time columns, though tokens run
            time-major: the upsampling then blends patches that are no neighbours. To reproduce, not to use.
    """

    prototypes_per_class: int = 20
    focal: bool = True
    prototype_lr: float = 0.04
    authors_reshape: bool = False

    spatial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.prototypes_per_class < 1:
            raise OscineError(f"{self.prototypes_per_class} prototypes per class; a class needs at least 1 to be seen")


@dataclass(frozen=True)
class PrototypeSettings(HeadSettings):
    """Settings of prototypes that no class owns.

    Args:
        pool: "clip", or "frames" for the best of each time step's freq and logits [batch, time, classes].
        prototypes: in total; no class owns one.
        dropout: of the linear layer's input.
    """

    pool: str = "clip"
    prototypes: int = 10_000
    dropout: float = 0.0

    spatial: ClassVar[bool] = True
    pools: ClassVar[Collection[str]] = SETS

    def __post_init__(self) -> None:
        choose(self.pool, self.pools)
        if self.prototypes < 1:
            raise OscineError(f"{self.prototypes} prototypes; the probe needs at least 1")
        check_dropout(self.dropout)


@dataclass(frozen=True)
class ProtofloatSettings(OneLayer, PrototypeSettings):
    """Settings of ProtofloatProbe and ProtobinProbe: prototypes that no class owns."""


@dataclass(frozen=True)
class ConvexGatedSettings(ManyLayers, PrototypeSettings):
    """Settings of ConvexGatedProbe: prototypes that no class owns, on a learnt mixture of all layers.

    Args:
        pool: which similarity is the middle one of the three that a prototype gives: "cls", CLS's; "mean", the mean over the
            patches; or "frames", that over the freq of each time step, with logits [batch, time, classes].
    """

    pool: str = "cls"

    pools: ClassVar[Collection[str]] = (Selection.CLS, Selection.MEAN, Selection.FRAMES)


# The name of every probe's class to its file in the room, and its settings.
OUR_PROBES: dict[str, tuple[str, type[HeadSettings]]] = {
    "LinearProbe": ("heads.linear", LinearSettings),
    "MLPProbe": ("heads.linear", MLPSettings),
    "LayerGatedProbe": ("heads.linear", LayerGatedSettings),
    "Head2ToeProbe": ("heads.linear", Head2ToeSettings),
    "AttentiveProbe": ("heads.attentive", AttentiveSettings),
    "MultiLayerAttentionProbe": ("heads.attentive", MultiLayerAttentionSettings),
    "EfficientProbe": ("heads.attentive", EfficientSettings),
    "SimPoolProbe": ("heads.attentive", SimPoolSettings),
    "GatedAttentionProbe": ("heads.attentive", GatedAttentionSettings),
    "PrototypicalProbe": ("heads.prototypical", PrototypicalSettings),
    "ProtofloatProbe": ("heads.protobin", ProtofloatSettings),
    "ProtobinProbe": ("heads.protobin", ProtofloatSettings),
    "ConvexGatedProbe": ("heads.convex_gated", ConvexGatedSettings),
}
HEADS = {name: settings for name, (_, settings) in OUR_PROBES.items()}
# What probes are called beside other runs and in published tables, where that is not the name of their class.
CALLED = {
    "ConvexGatedProbe": "cgp",
    "GatedAttentionProbe": "gated_attention",
    "LayerGatedProbe": "layer_gated",
    "MultiLayerAttentionProbe": "multi_layer_attention",
}


def choose(name: str, choices: Collection[str]) -> str:
    """Return `name` if it is one of the choices, else raise."""
    if name not in choices:
        raise OscineError(f"{name!r} is not known to this probe; choose from {', '.join(choices)}")
    return name


def no_patches(probe: str, encoder: str) -> str:
    """Say that a probe compares patches and an encoder has one vector a clip, and what would do."""
    remedy = "take a probe of that: LinearProbe or MLPProbe (oscine probe linear, oscine probe mlp)"
    return f"{probe} compares the patches of a clip, {encoder} has one vector a clip; {remedy}"


def is_framewise(pool: str | None) -> bool:
    """Return whether a probe with this pool answers for every step of time."""
    return pool in FRAME_WISE


def check_dropout(dropout: float) -> None:
    if not 0 <= dropout <= 1:
        raise OscineError(f"dropout is {dropout}, expected a share from 0 (none) to 1 (all)")
