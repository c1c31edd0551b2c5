"""Define Features, which every encoder returns, and the names of what is selected of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from oscine.models.errors import OscineError

if TYPE_CHECKING:
    from torch import Tensor


class Selection(str, Enum):
    """Names of the parts of `Features`, as they stand in YAMLs, tables and files of probes.

    cls          [layer, batch, dim]              the CLS token
    mean         [layer, batch, dim]              the mean over all patches
    bands        [layer, batch, freq * dim]       the mean over time, one freq after the other
    frames       [layer, batch, time, dim]        the mean over freq
    frame_bands  [layer, batch, time, freq * dim] every step of time, one freq after the other
    patches      [layer, batch, time, freq, dim]  all patches
    pooled       [1, batch, dim]                  the published model's own vector, of its last layer
    """

    CLS = "cls"
    MEAN = "mean"
    BANDS = "bands"
    FRAMES = "frames"
    FRAME_BANDS = "frame_bands"
    PATCHES = "patches"
    POOLED = "pooled"

    __str__ = str.__str__  # as enum.StrEnum of Python 3.11 does


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
        """Build the features of an encoder without CLS from layers [batch, time, freq, dim]: their means stand for CLS.

        pooled [batch, dim]: the one vector a clip; by default the last layer's mean.
        """
        import torch  # here: the names below are read where torch is not to be imported

        patches = torch.stack(list(layers))
        means = patches.mean((2, 3))
        return cls(means, patches, means[-1] if pooled is None else pooled)

    @property
    def frames(self) -> Tensor:  # [layer, batch, time, dim]
        """One vector a step of time: the mean of its patches over frequency."""
        return self.patches.mean(3)

    def select(self, selection: str, layer: int | None = None) -> Tensor:  # [layer, batch, ...], see Selection
        """Return the part of that name; layer: of this one alone, by its number among those here, [1, batch, ...]."""
        if selection not in _SELECT:
            raise OscineError(f"no part {selection!r} of Features; choose from {', '.join(_SELECT)}")
        if layer is None:
            return _SELECT[selection](self)
        return _SELECT[selection](self._replace(cls=self.cls[layer][None], patches=self.patches[layer][None]))

    def take(self, clips: Tensor | slice) -> Features:
        """Return the features of some clips of the batch, by index, boolean mask or slice."""
        return Features(self.cls[:, clips], self.patches[:, clips], self.pooled[clips])

    def to(self, *args: object, **kwargs: object) -> Features:
        """Move or cast every tensor, with the arguments of `Tensor.to`."""
        return Features(*(tensor.to(*args, **kwargs) for tensor in self))  # type: ignore[call-overload]


_SELECT: dict[str, Callable[[Features], Tensor]] = {
    Selection.CLS: lambda features: features.cls,
    Selection.MEAN: lambda features: features.patches.mean((2, 3)),
    Selection.BANDS: lambda features: features.patches.mean(2).flatten(2),
    Selection.FRAMES: lambda features: features.frames,
    Selection.FRAME_BANDS: lambda features: features.patches.flatten(3),
    Selection.PATCHES: lambda features: features.patches,
    Selection.POOLED: lambda features: features.pooled[None],
}
LAYER_VECTORS = (Selection.CLS, Selection.MEAN)  # one vector a clip and layer, as wide as the encoder
VECTORS = (Selection.POOLED, *LAYER_VECTORS)  # that a table of embeddings may have as columns


def check_layers(layers: Sequence[int], depth: int, layer: str = "layer") -> None:
    """Raise where layers, or what else is numbered, are asked for that an encoder of that depth does not have."""
    if not layers:
        raise OscineError(f"no {layer}s asked for; choose from 0 to {depth - 1}, or None for all")
    for number in layers:
        if not -depth <= number < depth:
            raise OscineError(
                f"{layer} {number} of an encoder with {depth}: choose from 0 to {depth - 1}, or back from -1"
            )


def timm_indices(indices: int | Sequence[int] | None, depth: int, layer: str = "layer") -> list[int]:
    """Read layers, or stages, as timm names them: all, the last few, or some; in their order, each once."""
    if indices is None:
        return list(range(depth))
    if isinstance(indices, int):
        if not 0 < indices <= depth:
            raise OscineError(f"the last {indices} of {depth} {layer}s were asked for; choose from 1 to {depth}")
        return list(range(depth - indices, depth))
    check_layers(indices, depth, layer)
    return sorted({number % depth for number in indices})


def check_pools(pools: Sequence[str], layers: Sequence[int] | None = None) -> None:
    """Raise where pools are asked for that no encoder has, or layers of a pool that has none."""
    unknown = [pool for pool in pools if pool not in VECTORS]
    if unknown or not pools:
        raise OscineError(f"pools {', '.join(unknown) or 'are none'}; choose from {', '.join(VECTORS)}")
    if layers is not None and set(pools) == {Selection.POOLED}:
        raise OscineError(
            f"{Selection.POOLED} is of the last layer alone; layers go with the pools {', '.join(LAYER_VECTORS)}: give "
            "one as well (--pools mean, pools=['mean'])"
        )
