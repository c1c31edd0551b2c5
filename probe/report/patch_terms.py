"""What every patch adds to a linear probe's logit, which is the sum of it all."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from oscine.models.encoders.base.features import Features, Selection
from oscine.models.encoders.base.layers import LayerNorm
from oscine.probe.heads.linear import LinearProbe, Standardised
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.settings import LAYER_POOLS


class PatchTerms(NamedTuple):
    """The logit of a class for a clip: `constant` plus all `values`, [layer, time, freq], or [layer, 1, 1] of CLS."""

    constant: float
    values: Tensor


def patch_terms(probe: LinearProbe, clip: Features, typical: Features, label: int) -> PatchTerms:
    """What every patch of every layer that a linear probe reads adds to a class's logit, against a typical clip.

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


def has_patch_terms(probe: Probe) -> bool:
    """Whether a fitted probe's logits are sums over layers or patches: it is linear in what it reads of them."""
    return isinstance(probe, LinearProbe) and isinstance(probe.fc, nn.Linear) and probe.pool in LAYER_POOLS


def _read(probe: LinearProbe, features: Features) -> Tensor:  # [layer, 1, time, freq, dim]
    """What the probe pools."""
    return features.cls[:, :, None, None] if probe.pool == Selection.CLS else features.patches


def _slope(probe: LinearProbe, vector: Tensor, label: int) -> Tensor:  # [width]
    """Of a class's logit along the vector [width] that the probe norms, the norm's scale being what it is."""
    weight = probe.get_parameter("fc.weight").detach()[label]
    norm = probe.ln
    if isinstance(norm, LayerNorm):
        weight = weight * norm.weight.detach()
        return (weight - weight.mean()) / (vector.var(unbiased=False) + norm.eps).sqrt()
    if isinstance(norm, Standardised):
        assert norm.running_var is not None
        return weight / (norm.running_var + norm.eps).sqrt()
    return weight
