"""Draw masks, on the CPU from a generator of their own; they are named by the patches that are kept."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import max_pool2d

from oscine.models.errors import OscineError


def random_keep(
    batch: int, grid: tuple[int, int], ratio: float = 0.75, generator: torch.Generator | None = None
) -> Tensor:  # [batch, kept]
    """Keep any patches, without structure: Bird-MAE's mask. ratio: share that is dropped; kept patches ascend."""
    patches = grid[0] * grid[1]
    noise = torch.rand(batch, patches, generator=generator)
    return noise.argsort(dim=1)[:, : kept_count(patches, ratio)].sort(dim=1).values


def block_keep(
    batch: int,
    grid: tuple[int, int],
    ratio: float = 0.8,
    block: int = 5,
    adjust: float = 0.07,
    generator: torch.Generator | None = None,
) -> Tensor:  # [batch, kept]
    """Keep blocks of patches and drop the rest: BAT's inverse block mask; kept patches ascend.

    Blocks of `block` x `block` patches around random centres, as many as would cover the kept share and `adjust` more
    without overlap; then random patches leave them, or join them, until exactly the kept share is left.
    """
    if block < 1 or block % 2 == 0:
        raise OscineError(f"block is {block}, expected an odd number of patches: a block has its centre on one, e.g. 5")
    time, freq = grid
    patches = time * freq
    kept = kept_count(patches, ratio)
    centres = torch.randint(patches, (batch, int(patches * (1 - ratio + adjust) / block**2)), generator=generator)
    marked = torch.zeros(batch, patches).scatter_(1, centres, 1.0)
    grown = max_pool2d(rearrange(marked, "batch (time freq) -> batch 1 time freq", time=time), block, 1, block // 2)
    covered = rearrange(grown, "batch 1 time freq -> batch (time freq)") > 0
    # The authors draw one row after the other, none where the count is right; drawn this way their masks come back bit for
    # bit. Covered patches rank above the others: the largest draws of the first stay, the smallest of the second join.
    draws = torch.zeros(batch, patches)
    for row in (covered.sum(1) != kept).nonzero()[:, 0].tolist():
        draws[row] = torch.empty(patches).exponential_(generator=generator)
    rank = torch.where(covered, draws, -draws - torch.finfo(torch.float32).tiny)
    return rank.topk(kept, dim=1).indices.sort(dim=1).values


def line_keep(
    batch: int, shape: tuple[int, int], axis: int, ratio: float, generator: torch.Generator | None = None
) -> Tensor:  # [batch, kept]
    """Keep whole lines of patches: rows of `shape` for axis 0, columns for 1. ratio: share that is dropped.

    Patches are numbered along the rows; kept ones ascend.
    """
    draws = torch.rand(batch, shape[axis], generator=generator)
    return lines_at(draws.argsort(dim=1)[:, : kept_count(shape[axis], ratio, "lines")], shape, axis)


def lines_at(places: Tensor, shape: tuple[int, int], axis: int) -> Tensor:  # [batch, kept]
    """List the patches of rows or columns of `shape`, ascending. places [batch, lines]."""
    numbers = torch.arange(shape[0] * shape[1]).view(shape).movedim(axis, 0)
    return numbers[places].flatten(1).sort(dim=1).values


def kept_count(patches: int, ratio: float, what: str = "patches") -> int:
    """Count the patches that a view keeps when the share `ratio` is dropped; at least one is kept and one is not.

    what: for the error, what is counted.
    """
    kept = int(patches * (1 - ratio))
    if not 0 < kept < patches:
        raise OscineError(
            f"a mask that drops {ratio:g} keeps {kept} of {patches} {what}; expected a share between 0 and 1 that keeps and "
            "drops at least one, e.g. 0.75"
        )
    return kept


def dropped_patches(keep: Tensor, patches: int) -> Tensor:  # [views, dropped]
    """List the patches that are not kept, ascending. keep [views, kept]; every view drops as many."""
    seen = torch.zeros(len(keep), patches, dtype=torch.bool, device=keep.device).scatter_(1, keep, True)
    return seen.to(torch.uint8).argsort(dim=1, stable=True)[:, : patches - keep.shape[1]]
