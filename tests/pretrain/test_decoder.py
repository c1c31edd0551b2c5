"""Work on some tokens only gives what work on all of them gives there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.testing import assert_close

from oscine.models.encoders.base.layers import GatedPostNormBlock, gather_patches
from oscine.pretrain import bat, bird_mae
from oscine.pretrain.decoder import insert_mask_tokens

PLACES = torch.tensor([[0, 3, 4], [1, 2, 6]])


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_views_of_a_clip_take_its_tokens() -> None:
    tokens = seeded(2, 7, 4)
    places = torch.cat([PLACES, PLACES + 0])
    taken = gather_patches(tokens, places)
    assert taken.shape == (4, 3, 4)
    for view, clip in enumerate([0, 0, 1, 1]):
        assert torch.equal(taken[view], tokens[clip, places[view]])


def test_tokens_go_to_their_places_and_the_mask_token_to_the_others() -> None:
    tokens, mask, positions = torch.arange(1.0, 5.0).view(2, 2, 1), torch.full((1, 1, 1), 9.0), torch.zeros(1, 4, 1)
    places = torch.tensor([[0, 3], [1, 2]])
    assert insert_mask_tokens(tokens, places, mask, positions)[..., 0].tolist() == [[1, 9, 9, 2], [9, 3, 4, 9]]
    positions = torch.tensor([10.0, 20.0, 30.0, 40.0]).view(1, 4, 1)
    assert insert_mask_tokens(tokens, places, mask, positions)[..., 0].tolist() == [[11, 29, 39, 42], [19, 23, 34, 49]]


def gradients(outputs: Tensor, block: nn.Module, tokens: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(outputs.square().sum(), [tokens, *block.parameters()]))


@pytest.mark.parametrize(
    ("block", "at"),
    [
        (lambda: GatedPostNormBlock(12, 3), bat.block_at),
        (lambda: Block(12, 3, qkv_bias=True, norm_layer=LayerNorm), bird_mae.block_at),
    ],
)
def test_a_block_for_some_places_is_the_block_there_with_its_gradients(
    block: Callable[[], nn.Module], at: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    made = block().double()
    tokens = seeded(2, 7, 12).double().requires_grad_()
    whole = made(tokens).gather(1, PLACES[..., None].expand(-1, -1, 12))
    some = at(made, tokens, PLACES)
    assert_close(some, whole)
    for one, other in zip(gradients(some, made, tokens), gradients(whole, made, tokens), strict=True):
        assert_close(one, other)
