"""Compare one layer's patches with prototypes that no class owns, of floats or single bits (arXiv 2509.24901)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.probe.heads.probe import Needs
from oscine.probe.heads.settings import ProtofloatSettings
from oscine.probe.heads.similarity import PrototypeProbe, tiled_min_max


class ProtofloatProbe(PrototypeProbe):
    """Cosine of each prototype with the patch of the layer that it fits best; linear layer.

    encoder: what it is built for; classes: how many logits; the rest as in `ProtofloatSettings`.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        pool: str = ProtofloatSettings.pool,
        prototypes: int = ProtofloatSettings.prototypes,
        dropout: float = ProtofloatSettings.dropout,
        layer: int = ProtofloatSettings.layer,
    ) -> None:
        super().__init__(encoder, classes, layer)
        self.needs = Needs(self.layers, parts=(Selection.PATCHES,))
        self.pool = ProtofloatSettings(pool, prototypes, dropout).pool
        self.prototype_vectors = nn.Parameter(0.02 * torch.randn(prototypes, self.dim, 1, 1))
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(prototypes, classes)

    def vectors(self) -> Tensor:  # [prototype, dim]
        """Return the prototypes of whatever length; they are compared by cosine."""
        return self.prototype_vectors.flatten(1)

    def unit_prototypes(self) -> Tensor:
        return normalize(self.vectors(), dim=1)

    def prepare(self, features: Features) -> Features:
        """Bring every patch of the layer to length 1."""
        needed = self.needs.take(features)
        return needed._replace(patches=normalize(needed.patches, dim=-1))

    def logits(self, prepared: Features) -> Tensor:
        sets = self.patch_sets(prepared.patches[-1])
        best = tiled_min_max(sets.flatten(0, -3), self.unit_prototypes(), ends=(torch.max,))[0]
        return self.fc(self.drop(best.unflatten(0, sets.shape[:-2])))


class ProtobinProbe(ProtofloatProbe):
    """The same with prototypes of +1 and -1: the signs of hidden numbers, which learn as if they were compared themselves.

    Its file holds the signs alone, a bit each, without which the hidden numbers have no use but to learn on.
    """

    def vectors(self) -> Tensor:
        hidden = super().vectors()
        signs = torch.where(hidden >= 0, 1.0, -1.0).to(hidden)
        return signs + (hidden - hidden.detach())  # the bracket is 0, its gradient is not

    def stored(self) -> dict[str, Tensor]:
        state = self.state_dict()
        positive = state.pop("prototype_vectors").flatten(1) >= 0
        eights = pad(positive, (0, -self.dim % 8)).unflatten(1, (-1, 8))  # the first is the highest bit, as in NumPy
        values = 2 ** torch.arange(7, -1, -1, device=eights.device)
        return {**state, "prototype_bits": (eights * values).sum(2).to(torch.uint8)}

    def load_stored(self, tensors: Mapping[str, Tensor]) -> None:
        bits = np.unpackbits(tensors["prototype_bits"].cpu().numpy(), axis=1, count=self.dim)
        signs = 2.0 * torch.from_numpy(bits)[:, :, None, None] - 1.0
        state = {name: tensor for name, tensor in tensors.items() if name != "prototype_bits"}
        self.load_state_dict({**state, "prototype_vectors": signs})
