"""Compare patches with prototypes of each class, as Bird-MAE and AudioProtoPNet do (arXiv 2504.12880, 2404.10420)."""

from __future__ import annotations

from typing import Any

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import interpolate, pad

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.probe.heads.probe import Needs, group_parameters
from oscine.probe.heads.settings import PrototypicalSettings
from oscine.probe.heads.similarity import PrototypeProbe, tiled_min_max

EPSILON = 1e-4  # keeps the cosine of an empty patch finite
HEADROOM = 1.01  # keeps an activation below 1


class PrototypicalProbe(PrototypeProbe):
    """Cosine of each prototype with the patch it fits best, weighted within its class by what cannot be negative.

    Patches are taken relative to CLS (`focal`), and upsampled twofold in time and freq before they are compared.
    AudioProtoPNet's head is the same without `focal`; its prototypes learn at 0.05, and nothing decays but the last layer.

    encoder: what it is built for; classes: how many logits; the rest as in `PrototypicalSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        prototypes_per_class: int = PrototypicalSettings.prototypes_per_class,
        focal: bool = PrototypicalSettings.focal,
        prototype_lr: float = PrototypicalSettings.prototype_lr,
        authors_reshape: bool = PrototypicalSettings.authors_reshape,
        layer: int = PrototypicalSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, layer)
        PrototypicalSettings(prototypes_per_class)  # refuses what cannot be
        self.needs = Needs(self.layers, parts=(Selection.CLS, Selection.PATCHES) if focal else (Selection.PATCHES,))
        self.focal = focal
        self.prototype_lr = prototype_lr
        self.authors_reshape = authors_reshape
        self.shows_places = not authors_reshape  # what that blends are no neighbours
        self.prototype_vectors = nn.Parameter(torch.rand(classes * prototypes_per_class, self.dim, 1, 1))
        self.last_layer = ClassBoundLinear(classes, prototypes_per_class)

    def logits(self, prepared: Features) -> Tensor:  # [batch, classes]
        return self.last_layer(self.activations(prepared))

    def prepare(self, features: Features) -> Features:
        """Take the layer's patches, relative to CLS if `focal`."""
        needed = self.needs.take(features)
        return needed._replace(patches=needed.patches - needed.cls[:, :, None, None]) if self.focal else needed

    def activations(self, prepared: Features) -> Tensor:  # [batch, classes * prototypes_per_class], in [0, 1)
        """Compute how well each prototype fits the patch that it fits best."""
        ends, compared = (torch.max,), lambda patches: self.finer(patches).flatten(1, 2)
        return self.activation(tiled_min_max(prepared.patches[-1], self.unit_prototypes(), ends, compared)[0])

    def activation(self, similarity: Tensor) -> Tensor:
        return similarity.relu() / HEADROOM

    def unit_prototypes(self) -> Tensor:
        return unit(extended(self.prototype_vectors.flatten(1)), EPSILON)

    def finer(self, patches: Tensor) -> Tensor:  # [batch, 2 * time, 2 * freq, dim + 2]
        """Bring patches [batch, time, freq, dim] to the finer grid and to length 1."""
        return unit(self.upsample(extended(patches)))

    def compared(self, prepared: Features) -> Tensor:
        return self.finer(prepared.patches[-1])

    def bias(self) -> Tensor:
        return self.last_layer.bias

    def prototypes_of(self, label: int) -> tuple[Tensor, Tensor]:
        weights = self.last_layer.weight[label].relu()
        return torch.arange(label * len(weights), (label + 1) * len(weights)), weights[:, None]

    def upsample(self, patches: Tensor) -> Tensor:  # [batch, 2 * time, 2 * freq, channels]
        """Interpolate [batch, time, freq, channels] to a grid twice as fine."""
        image = rearrange(patches, "batch time freq dim -> batch dim time freq")
        if self.authors_reshape:
            image = rearrange(image.flatten(2), "batch dim (row column) -> batch dim row column", row=image.shape[3])
        image = interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
        return rearrange(image, "batch dim time freq -> batch time freq dim")

    def penalty(self) -> Tensor:
        return self.orthogonality_loss()

    def orthogonality_loss(self) -> Tensor:
        """Measure how far prototypes of a class are from orthonormal, a scalar.

        It is the root of the summed squares by which they miss it, over the number of pairs.
        """
        classes, per_class = self.last_layer.weight.shape
        vectors = rearrange(self.prototype_vectors, "(classes own) dim 1 1 -> classes own dim", classes=classes)
        prototypes = unit(vectors, EPSILON)
        excess = prototypes @ prototypes.mT - torch.eye(per_class).to(prototypes)
        return excess.norm() / excess.numel()

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Make groups for AdamW as in Bird-MAE: prototypes learn with `prototype_lr`, the last layer decays by 1e-4."""
        last = {"weight_decay": 1e-4}
        own = {"prototype_vectors": {"lr": self.prototype_lr}, "last_layer.weight": last, "last_layer.bias": last}
        return group_parameters(self, lr, weight_decay, own)


class ClassBoundLinear(nn.Module):
    """Logits from the activations of each class's own prototypes: no weight leads to another class, none counts below 0."""

    def __init__(self, classes: int, per_class: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(classes, per_class))
        self.bias = nn.Parameter(torch.full((classes,), -2.0))  # a clip is silent until a prototype speaks

    def forward(self, activations: Tensor) -> Tensor:
        own = rearrange(activations, "batch (classes own) -> batch classes own", own=self.weight.shape[1])
        return einsum(own, self.weight.relu(), "batch classes own, classes own -> batch classes") + self.bias


def extended(vectors: Tensor) -> Tensor:  # [..., dim + 2]
    """Add to vectors [..., dim] the two channels of epsilon that the authors add, and that count in every cosine."""
    return pad(vectors, (0, 2), value=EPSILON)


def unit(vectors: Tensor, slack: float = 0.0) -> Tensor:
    """Bring vectors [..., dim] to length 1, or below it by epsilon, and `slack`, in the length that they are divided by."""
    return vectors / ((vector_norm(vectors, dim=-1, keepdim=True).square() + EPSILON).sqrt() + slack)
