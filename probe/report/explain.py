"""Split a fitted probe's logit into what each prototype or patch adds to it, and find the clips that fit prototypes best."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.features import Features, Selection
from oscine.models.timm_parts import LayerNorm
from oscine.probe.fit.judge import FeatureSource
from oscine.probe.heads.linear import Standardised, VectorProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.settings import LAYER_POOLS
from oscine.probe.heads.similarity import Activations, PrototypeProbe

BATCH = 16  # clips whose features of all layers and patches are held at once
GREATEST = -1  # the last kind of activation of every probe


def as_prototype_probe(probe: Probe) -> PrototypeProbe | None:
    """Return a clip-wise probe if it has prototypes that it compares with what lies somewhere, else None."""
    return probe if isinstance(probe, PrototypeProbe) and probe.shows_places else None


class PrototypeTerms(NamedTuple):
    """The logit of a class for a clip: `constant` plus all `values`, which are [prototype, kind] as `found` has them."""

    constant: float
    values: Tensor
    prototypes: Tensor
    found: Activations


@torch.no_grad()
def prototype_terms(probe: PrototypeProbe, prepared: Features, label: int) -> PrototypeTerms:
    """Compute what every prototype adds to a class's logit: its weight times its activation. prepared: of one clip."""
    numbers, weights = probe.prototypes_of(label)
    found = probe.activate(prepared, numbers)
    return PrototypeTerms(probe.bias()[label].item(), weights.double() * found.values[0].double(), numbers, found)


class TopClips(NamedTuple):
    """The clips that fit prototypes best, [rank, prototype]: row numbers, activations, places on a grid (time, freq)."""

    rows: Tensor
    activations: Tensor
    places: Tensor
    grid: tuple[int, int]


@torch.no_grad()
def top_activations(
    probe: PrototypeProbe, features: FeatureSource, *, rows: Tensor, prototypes: Tensor, most: int
) -> TopClips:
    """Find the rows, of those given, that some prototypes, by number, fit best, the strongest first."""
    founds = [probe.activate(probe.prepare(features.take(batch)), prototypes) for batch in rows.split(BATCH)]
    activations = torch.cat([found.values[..., GREATEST] for found in founds])
    best = activations.topk(min(most, len(rows)), dim=0)
    places = torch.cat([found.places[..., GREATEST] for found in founds]).gather(0, best.indices)
    return TopClips(rows[best.indices], best.values, places, founds[0].grid)


class PatchTerms(NamedTuple):
    """The logit of a class for a clip: `constant` plus all `values`, [layer, time, freq], or [layer, 1, 1] of CLS."""

    constant: float
    values: Tensor


def patch_terms(probe: VectorProbe, clip: Features, typical: Features, label: int) -> PatchTerms:
    """Compute what every patch of every layer that a linear probe reads adds to a class's logit, against a typical clip.

    The probe's norm is taken with the scale that it has for this clip, so that all else is linear: mean, mixture of layers
    and weights. What a typical clip has in the patch's stead is subtracted from each and counts as constant.

    clip: features of one clip, with the layers that the probe reads and all patches. typical: means of such features over
    clips, one clip too; time and freq may have length 1.
    """
    ours, theirs = (_read(probe, features).double() for features in (clip, typical))
    with torch.enable_grad():
        source = ours.float().requires_grad_()
        tokens = clip._replace(cls=source[:, :, 0, 0]) if probe.pool == Selection.CLS else clip._replace(patches=source)
        vector = probe.join(tokens.select(probe.pool))
        slope = _slope(probe, vector.detach()[0], label)
        (reached,) = torch.autograd.grad(vector, source, slope[None])
        logit = probe.fc(probe.ln(vector))[0, label].item()
    values = (reached * (ours - theirs)).sum(-1)[:, 0]
    return PatchTerms(logit - values.sum().item(), values)


def has_patch_terms(probe: Probe) -> TypeGuard[VectorProbe]:
    """Return whether a fitted probe's logits are sums over layers or patches: it is linear in what it reads of them."""
    return isinstance(probe, VectorProbe) and isinstance(probe.fc, nn.Linear) and probe.pool in LAYER_POOLS


def _read(probe: VectorProbe, features: Features) -> Tensor:  # [layer, 1, time, freq, dim]
    """Return what the probe pools."""
    return features.cls[:, :, None, None] if probe.pool == Selection.CLS else features.patches


def _slope(probe: VectorProbe, vector: Tensor, label: int) -> Tensor:  # [width]
    """Return a class's slope along the vector [width] that the probe norms, the norm's scale being what it is."""
    weight = probe.get_parameter("fc.weight").detach()[label]
    norm = probe.ln
    if isinstance(norm, LayerNorm):
        weight = weight * norm.weight.detach()
        return (weight - weight.mean()) / (vector.var(unbiased=False) + norm.eps).sqrt()
    if isinstance(norm, Standardised):
        assert norm.running_var is not None
        return weight / (norm.running_var + norm.eps).sqrt()
    return weight
