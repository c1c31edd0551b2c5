"""What an encoder returns: a value that every encoder makes and every probe reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from oscine.models.errors import OscineError

if TYPE_CHECKING:
    from torch import Tensor


class Features(NamedTuple):
    """The features of a batch of clips.

    cls      [layer, batch, dim]              the CLS token after every returned block, or what stands for it
    patches  [layer, batch, time, freq, dim]  the patch tokens on their grid, time before frequency, mel rising with freq
    pooled   [batch, dim]                     one vector a clip, as the published model of the architecture defines it
    """

    cls: Tensor
    patches: Tensor
    pooled: Tensor

    @classmethod
    def of_patches(cls, layers: Sequence[Tensor], pooled: Tensor | None = None) -> Features:
        """Of an encoder without CLS, whose layers are [batch, time, freq, dim] each: their means stand for CLS.

        pooled [batch, dim]: the one vector a clip; by default the last layer's mean.
        """
        import torch  # here: the names below are read where torch is not to be imported

        patches = torch.stack(list(layers))
        means = patches.mean((2, 3))
        return cls(means, patches, means[-1] if pooled is None else pooled)

    @property
    def frames(self) -> Tensor:  # [layer, batch, time, dim]
        """One vector a step of time: the patches averaged over frequency."""
        return self.patches.mean(3)

    def take(self, clips: Tensor | slice) -> Features:
        """The features of some clips of the batch, by index, boolean mask or slice."""
        return Features(self.cls[:, clips], self.patches[:, clips], self.pooled[clips])

    def to(self, *args: object, **kwargs: object) -> Features:
        """Every tensor moved or cast, with the arguments of `Tensor.to`."""
        return Features(*(tensor.to(*args, **kwargs) for tensor in self))  # type: ignore[call-overload]


POOLED = "pooled"  # the model's own, of its last layer: the column `embedding`
POOLS: dict[str, Callable[[Features, int], Tensor]] = {
    "cls": lambda features, layer: features.cls[layer],
    "mean": lambda features, layer: features.patches[layer].mean((1, 2)),
}


def check_layers(layers: Sequence[int], depth: int) -> None:
    """Raise where layers are asked for that an encoder of that depth does not have."""
    if not layers:
        raise OscineError(f"no layers asked for; choose from 0 to {depth - 1}, or None for all")
    for layer in layers:
        if not -depth <= layer < depth:
            raise OscineError(
                f"layer {layer} of an encoder with {depth}: choose from 0 to {depth - 1}, or back from -1"
            )


def check_pools(pools: Sequence[str], layers: Sequence[int] | None = None) -> None:
    """Raise where pools are asked for that no encoder has, or layers of a pool that has none."""
    unknown = [pool for pool in pools if pool != POOLED and pool not in POOLS]
    if unknown or not pools:
        raise OscineError(f"pools {', '.join(unknown) or 'are none'}; choose from {', '.join([POOLED, *POOLS])}")
    if layers is not None and set(pools) == {POOLED}:
        raise OscineError(f"{POOLED} is of the last layer alone; layers go with the pools {', '.join(POOLS)}")
