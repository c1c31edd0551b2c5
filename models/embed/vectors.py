"""The vectors of clips: which of an encoder's layers and pools are wanted, and how prepared clips become them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from oscine.models.embed.outputs import Outputs
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import LAYER_VECTORS, Features, Selection, check_pools
from oscine.models.encoders.base.precision import FLOAT32
from oscine.models.errors import OscineError


class Vectors(Outputs):
    """Clips, [samples] each, to the vectors asked for, [clip, column, dim] in float32.

    pools: "pooled" is the column `embedding`; "cls" and "mean" (of the patches) are taken of every one of the `layers`, by
    default the last: columns `cls_11`, `mean_11`, with layers counted from 0. precision: as in `Outputs`. compiled: from
    what is prepared on through torch.compile, for batches of one size.
    """

    def __init__(
        self,
        encoder: Encoder,
        layers: Sequence[int] | None = None,
        pools: Sequence[str] = (Selection.POOLED,),
        precision: str = FLOAT32,
        compiled: bool = False,
    ) -> None:
        self.layers = _layer_numbers(encoder, layers, pools)
        self.columns = _columns(self.layers, pools, encoder.depth)
        super().__init__(encoder, dict.fromkeys(self.columns, encoder.dim), encoder.samples, precision)
        self.compiled = compiled
        self._read = _compiled(self._vectors) if compiled else self._vectors

    def read(self, prepared: Tensor) -> Tensor:  # [clip, column, dim]
        return self._read(prepared)

    def describe(self) -> dict[str, Any]:
        """columns: the pool and the layer, counted from 0, of each."""
        return {"columns": {name: {"pool": pool, "layer": layer} for name, (pool, layer) in self.columns.items()}}

    def _vectors(self, prepared: Tensor) -> Tensor:
        features = self.encoder.features(prepared, self.layers)
        vectors = [_vector(features, pool, self.layers.index(layer)) for pool, layer in self.columns.values()]
        return torch.stack([vector.float() for vector in vectors], dim=1)


def _vector(features: Features, pool: str, index: int) -> Tensor:  # [batch, dim]
    """Return a pool of the layer at that index, without the work of pooling the other layers."""
    one = slice(index, index + 1)
    return Features(features.cls[one], features.patches[one], features.pooled).select(pool)[0]


def _compiled(read: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    from torch._dynamo.exc import BackendCompilerFailed  # here, because it brings the compiler along

    compiled = torch.compile(read, dynamic=False)

    def run(prepared: Tensor) -> Tensor:
        try:
            return compiled(prepared)
        except BackendCompilerFailed as error:
            reason = str(error.inner_exception).strip().partition("\n")[0]
            raise OscineError(
                f"torch.compile failed ({reason}); install a C++ compiler such as g++, or do not compile"
            ) from None

    return run


def _layer_numbers(encoder: Encoder, layers: Sequence[int] | None, pools: Sequence[str]) -> list[int]:
    check_pools(pools, layers)
    if (
        layers is not None
        and not encoder.stacked
        and {layer % encoder.depth for layer in layers} != {encoder.depth - 1}
    ):
        raise OscineError(
            f"layers {', '.join(map(str, layers))}: those of {type(encoder).__name__} differ in width, and a table has its "
            f"last one alone, {encoder.depth - 1}; leave layers out"
        )
    return list(dict.fromkeys(encoder.layer_numbers([-1] if layers is None else layers)))


def _columns(layers: list[int], pools: Sequence[str], depth: int) -> dict[str, tuple[str, int]]:
    """Name of a column to its pool and layer; the model's own vector first."""
    columns: dict[str, tuple[str, int]] = {}
    if Selection.POOLED in pools:
        columns["embedding"] = (Selection.POOLED, depth - 1)
    return columns | {f"{pool}_{layer}": (pool, layer) for layer in layers for pool in LAYER_VECTORS if pool in pools}
