"""Define the base of every probe: a small module from the features of a frozen encoder to logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection, check_layers
from oscine.models.errors import OscineError
from oscine.probe.heads.settings import is_framewise, no_patches


class Needs(NamedTuple):
    """What a probe reads of `Features`, so that no more has to be computed, kept or stored.

    layers  block outputs, as `encoder(waveform, layers=...)` takes them; None is all of them
    parts   names of `Selection`: cls, pooled, and of the patches patches (all), frames (means over freq), bands (over
            time) or mean (over both)
    """

    layers: list[int] | None
    parts: tuple[str, ...]

    def take(self, features: Features) -> Features:
        """Return the needed part, as `Features` that the probe reads with the same result.

        Features of as many layers as are needed are taken for these. Means keep their axes with length 1 ([layer, batch, 1,
        1, dim]: the mean over them is what it was); what is not needed is left empty.
        """
        cls, patches = features.cls, features.patches
        if self.layers is not None:
            cls, patches = (part[self.layers] if len(part) > len(self.layers) else part for part in (cls, patches))
        crossed = {Selection.FRAMES, Selection.BANDS} <= set(self.parts)  # neither can be computed from the other
        reduced = next((GRIDS[part] for part in GRIDS if crossed or part in self.parts), _no_patches)
        pooled = features.pooled
        return Features(
            cls=cls if Selection.CLS in self.parts else cls.new_empty(*cls.shape[:-1], 0),
            patches=reduced(patches),
            pooled=pooled.clone() if Selection.POOLED in self.parts else pooled.new_empty(len(pooled), 0),
        )


def _no_patches(patches: Tensor) -> Tensor:
    return patches.new_empty(*patches.shape[:2], 0, *patches.shape[3:])  # a view would keep them all in memory


# Finest first: every later part can be computed from an earlier one.
GRIDS: dict[str, Callable[[Tensor], Tensor]] = {
    Selection.PATCHES: lambda patches: patches,
    Selection.FRAMES: lambda patches: patches.mean(3, keepdim=True),
    Selection.BANDS: lambda patches: patches.mean(2, keepdim=True),
    Selection.MEAN: lambda patches: patches.mean((2, 3), keepdim=True),
}


class Probe(nn.Module):
    """From the `Features` of a frozen encoder to logits [batch, classes], or [batch, time, classes] frame-wise.

    A probe is built for an encoder, reads its sizes and does not keep it. `needs` says which features it reads; `prepare`
    does what has no parameters, so that a fit does it once; `logits` is the rest, and what is fitted.
    """

    spatial: ClassVar[bool] = False  # whether it compares the patches of a clip, so that there must be several
    needs: Needs

    def __init__(self, encoder: Encoder, classes: int, layer: int | None = -1) -> None:
        """Note the encoder's sizes. layer: the one that is read, by its number; None is all, side by side."""
        super().__init__()
        if classes < 1:
            raise OscineError(f"a probe for {classes} classes has nothing to tell apart; give at least 1")
        if layer is not None:
            check_layers([layer], encoder.depth)
        if not encoder.stacked and layer not in (-1, encoder.depth - 1):
            read = "all layers side by side" if layer is None else f"layer {layer}"
            raise OscineError(
                f"{type(self).__name__} reads {read}, those of {type(encoder).__name__} differ in width; "
                "take a probe of the last layer, such as LinearProbe"
            )
        if self.spatial and not encoder.spatial:
            raise OscineError(no_patches(type(self).__name__, type(encoder).__name__))
        self.layers = None if layer is None else [layer]
        self.classes = classes
        self.dim = encoder.dim
        self.depth = encoder.depth

    @property
    def layers_read(self) -> int:
        """How many layers are read."""
        return self.depth if self.layers is None else len(self.layers)

    @property
    def framewise(self) -> bool:
        """Whether logits are of every step of time."""
        return is_framewise(getattr(self, "pool", None))

    def patch_sets(self, patches: Tensor) -> Tensor:  # [batch, patch, dim], frame-wise [batch, time, freq, dim]
        """Lay out one layer's patches [batch, time, freq, dim] as the sets that each answer is of."""
        return patches if self.framewise else patches.flatten(1, 2)

    def forward(self, features: Features) -> Tensor:
        """Compute logits of features of all layers, or of those alone that `needs` asks for."""
        self.check(features)
        return self.logits(self.prepare(features))

    def prepare(self, features: Features) -> Features:
        """Take the needed part of the features, and work on it as far as no parameter is involved."""
        return self.needs.take(features)

    def logits(self, prepared: Features) -> Tensor:
        """Compute logits [batch, classes], or [batch, time, classes] frame-wise, of prepared features."""
        raise NotImplementedError

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Make groups for AdamW: no decay on one-dimensional tensors."""
        return group_parameters(self, lr, weight_decay)

    def penalty(self) -> Tensor:
        """Return what training adds to the loss, a scalar."""
        return next(self.parameters()).new_zeros(())

    def stored(self) -> dict[str, Tensor]:
        """Return the tensors that a file of the fitted probe has to hold, by name."""
        return self.state_dict()

    def load_stored(self, tensors: Mapping[str, Tensor]) -> None:
        """Become the fitted probe that was stored. It may know less than a state does, and give the same logits."""
        self.load_state_dict(tensors)

    def check(self, features: Features) -> None:
        layers, dim = len(features.patches), features.patches.shape[-1]
        if dim != self.dim:
            raise OscineError(f"features are {dim} wide, this probe reads {self.dim}: it was made for another encoder")
        asked = self.needs.layers
        if asked is None and layers != self.depth:
            raise OscineError(
                f"features of {layers} layers, this probe reads all {self.depth}; encode with layers=None"
            )
        if asked is not None and layers not in (self.depth, len(asked)):
            raise OscineError(
                f"features of {layers} layers of {self.depth}, this probe reads {asked}; encode with layers={asked}, or None"
            )


class PatchProbe(Probe):
    """A probe that reads the patches of one layer, or of all."""

    spatial = True

    def __init__(self, encoder: Encoder, classes: int, layer: int | None = -1) -> None:
        super().__init__(encoder, classes, layer)
        self.needs = Needs(self.layers, parts=(Selection.PATCHES,))


class LayerGate:
    """Mixes the layers that a probe reads by a softmax of learnt numbers, which start even."""

    block_attention: nn.Parameter  # [layer], named as in the published heads

    @property
    def gate(self) -> Tensor:  # [layer]
        """How much each layer counts; sums to 1."""
        return self.block_attention.softmax(0)

    def mix(self, layers: Tensor) -> Tensor:  # [batch, ..., dim]
        """Average vectors [layer, batch, ..., dim] by the gate."""
        return torch.tensordot(self.gate, layers, dims=1)


def group_parameters(
    probe: nn.Module, lr: float, weight_decay: float, own: Mapping[str, Mapping[str, float]] | None = None
) -> list[dict[str, Any]]:
    """Sort a probe's parameters into groups of equal settings, for AdamW.

    All have `lr`, and `weight_decay` unless they are one-dimensional; `own` says otherwise by parameter name.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in probe.named_parameters():
        settings = {"lr": lr, "weight_decay": weight_decay if parameter.ndim > 1 else 0.0, **(own or {}).get(name, {})}
        groups.setdefault((settings["lr"], settings["weight_decay"]), []).append(parameter)
    return [{"params": members, "lr": lr, "weight_decay": decay} for (lr, decay), members in groups.items()]
