"""Return an encoder's scores as logits."""

from __future__ import annotations

from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.errors import OscineError
from oscine.probe.heads.probe import Needs, Probe

LEAST = 1e-7  # of a probability, and from 1: a logit of 16, beyond which float32 has no steps below 1


class IdentityProbe(Probe):
    """The numbers of `pooled` as the logits of as many classes, for an encoder whose `pooled` are scores.

    encoder: what it is built for; classes: how many logits; probabilities: whether the scores are such, one a class.
    """

    def __init__(self, encoder: Encoder, classes: int, probabilities: bool = False) -> None:
        super().__init__(encoder, classes)
        if classes != encoder.dim:
            raise OscineError(
                f"IdentityProbe has {classes} classes, the encoder gives {encoder.dim} scores; expected as many"
            )
        self.needs = Needs(self.layers, parts=(Selection.POOLED,))
        self.probabilities = probabilities

    def logits(self, prepared: Features) -> Tensor:
        return prepared.pooled.logit(LEAST) if self.probabilities else prepared.pooled
