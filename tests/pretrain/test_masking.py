"""Masks: as many patches as promised, in order, from the generator alone, and the authors' very own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from einops import rearrange
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.pretrain.masking import block_keep, dropped_patches, random_keep

MASKS = [random_keep, block_keep]
GRIDS = [(64, 8), (32, 8), (12, 8), (5, 3)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_block_masks_are_the_authors_from_the_same_seed(golden_bat, seed):
    keep = block_keep(4, (64, 8), generator=seeded(seed))
    assert torch.equal(keep, golden_bat[f"mask.seed{seed}.keep"].long())


def test_random_masks_keep_the_smallest_noise_as_the_authors_do(golden_bird_mae, monkeypatch):
    noise, mask = golden_bird_mae["mae.noise"], golden_bird_mae["mae.mask"]
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: noise)
    keep = random_keep(4, (32, 8))
    assert torch.equal(torch.ones(4, 256).scatter(1, keep, 0.0), mask)
    assert torch.equal(
        golden_bird_mae["mae.ids_restore"].gather(1, keep).sort(1).values, torch.arange(64).expand(4, -1)
    )


@pytest.mark.parametrize("draw", MASKS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.8])
def test_every_view_keeps_the_exact_share_in_ascending_order(draw: Callable[..., Tensor], grid, ratio):
    patches = grid[0] * grid[1]
    keep = draw(6, grid, ratio, generator=seeded())
    assert keep.shape == (6, int(patches * (1 - ratio)))
    assert keep.dtype is torch.int64
    assert keep.min() >= 0
    assert keep.max() < patches
    assert (keep.diff(dim=1) > 0).all()


@pytest.mark.parametrize("draw", MASKS)
def test_the_generator_alone_decides(draw: Callable[..., Tensor]):
    torch.manual_seed(0)
    first = draw(4, (32, 8), generator=seeded(7))
    torch.manual_seed(1)
    assert torch.equal(draw(4, (32, 8), generator=seeded(7)), first)
    assert not torch.equal(draw(4, (32, 8), generator=seeded(8)), first)
    assert len(first.unique(dim=0)) == 4, "views differ"


@pytest.mark.parametrize("draw", MASKS)
def test_every_patch_has_its_chance(draw: Callable[..., Tensor]):
    share = torch.bincount(draw(2000, (16, 8), generator=seeded()).flatten(), minlength=128) / 2000
    assert share.min() > 0.5 * share.mean()  # blocks are cut at the border, so its patches are kept less often
    assert share.max() < 1.5 * share.mean()


def neighbours(keep: Tensor, grid: tuple[int, int]) -> float:
    """How many of a kept patch's neighbours in time and frequency are kept too, on average."""
    seen = torch.zeros(len(keep), grid[0] * grid[1]).scatter(1, keep, 1.0)
    seen = rearrange(seen, "view (time freq) -> view time freq", time=grid[0])
    pairs = (seen[:, 1:] * seen[:, :-1]).sum() + (seen[:, :, 1:] * seen[:, :, :-1]).sum()
    return (2 * pairs / seen.sum()).item()


def test_block_masks_keep_blocks_and_random_masks_do_not():
    grid = (64, 8)
    clustered = neighbours(block_keep(100, grid, 0.8, generator=seeded()), grid)
    scattered = neighbours(random_keep(100, grid, 0.8, generator=seeded()), grid)
    assert scattered < 1.0 < 2.0 < clustered


@pytest.mark.parametrize("block", [3, 5])
def test_a_block_is_square_in_time_and_frequency(block):
    only_one = 1 - (block**2 + 0.5) / 512  # the share of patches to drop, for the patches of one block to be left
    keep = block_keep(200, (64, 8), only_one, block, adjust=0.0, generator=seeded())
    time, freq = keep // 8, keep % 8
    square = (time.amax(1) - time.amin(1) == block - 1) & (freq.amax(1) - freq.amin(1) == block - 1)
    inside = (64 - block + 1) / 64 * (8 - block + 1) / 8  # share of centres whose block no border cuts
    assert square.float().mean() == pytest.approx(inside, abs=0.1)


def test_dropped_patches_are_the_others_in_ascending_order():
    keep = random_keep(5, (12, 8), generator=seeded())
    dropped = dropped_patches(keep, 96)
    assert (dropped.diff(dim=1) > 0).all()
    everything = torch.cat([keep, dropped], dim=1).sort(dim=1).values
    assert torch.equal(everything, torch.arange(96).expand(5, -1))


@pytest.mark.parametrize("draw", MASKS)
@pytest.mark.parametrize("ratio", [-0.5, 0.0, 0.999, 1.0, 1.5])
def test_a_mask_keeps_and_drops_at_least_one_patch(draw: Callable[..., Tensor], ratio):
    with pytest.raises(OscineError, match=r"a mask that drops .* of 40 patches; expected"):
        draw(2, (5, 8), ratio)


@pytest.mark.parametrize("block", [0, 2, 4])
def test_a_block_without_a_centre_is_refused(block):
    with pytest.raises(OscineError, match=f"block is {block}, expected an odd number"):
        block_keep(2, (12, 8), block=block)
