"""What a pretraining step has to compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from oscine.models.encoders.frontends.mel import PATCH
from oscine.pretrain import AudioMosaicPretraining, BATPretraining, BirdMAEPretraining, Recipe


def flop(recipe: Recipe, clips: int) -> float:
    """What a step has to compute, two for a multiplication with its addition, matrix products alone.

    The backward pass costs twice the forward.
    """
    return FLOP[type(recipe)](recipe, clips)


def block(dim: int, tokens: int, rows: int | None = None, gated: bool = False) -> int:
    """Return (24 + 2 gated) dim^2 + 4 tokens dim for each token of a block.

    rows: tokens that are turned into more than keys and values; None is all.
    """
    rows = tokens if rows is None else rows
    return 4 * tokens * dim**2 + rows * ((20 + 2 * gated) * dim**2 + 4 * tokens * dim)


def embedding(dim: int, patches: int) -> int:
    return 2 * PATCH**2 * dim * patches


def contrasting(recipe: AudioMosaicPretraining, clips: int) -> float:
    """Every view goes through patch embedding, which is whole, blocks and projector; all views are compared with all."""
    encoder, views = recipe.encoder, recipe.kept
    patches = encoder.grid[0] * encoder.grid[1]
    blocks = sum(encoder.depth * block(encoder.dim, 1 + kept) for kept in views)
    linear = sum(2 * layer.weight.numel() for layer in recipe.projector if isinstance(layer, nn.Linear))
    compared = 2 * (len(views) * clips) ** 2 * recipe.projector[-1].num_features
    embedded = len(views) * embedding(encoder.dim, patches)
    # Spectrograms get no gradient: the embedding's backward pass costs as much as its forward.
    return clips * (3 * (blocks + len(views) * linear) + 2 * embedded) + 3 * compared


def predicting(recipe: Recipe, clips: int, *, gated: bool) -> float:
    """The last block of a decoder turns all patches into keys and values and works on the dropped ones beyond that.

    gated: as BAT, with gates in its attention and a teacher; otherwise as a masked autoencoder.
    """
    encoder, decoder = recipe.encoder, recipe.decoder
    keep = recipe.draw_keep(torch.Generator())
    views, kept = keep.shape
    patches = encoder.grid[0] * encoder.grid[1]
    dropped = patches - kept
    dim, depth = encoder.dim, encoder.depth
    wide, blocks = decoder.mask_token.shape[2], len(decoder.blocks)
    student = depth * block(dim, 1 + kept, gated=gated)
    length, outputs = (patches, dim) if gated else (1 + patches, PATCH * PATCH)
    enter = 2 * dim * wide * (1 + kept) * (not gated or wide != dim)
    drawn = (blocks - 1) * block(wide, length, gated=gated) + block(wide, length, dropped, gated)
    drawn += enter + 2 * wide * outputs * dropped
    embedded = embedding(dim, patches if gated else kept * views)
    teacher = embedding(dim, patches) + depth * block(dim, 1 + patches, gated=gated) if gated else 0
    return clips * (3 * (views * (student + drawn) + embedded) + teacher)


FLOP: dict[type[Recipe], Callable[..., float]] = {
    BATPretraining: partial(predicting, gated=True),
    BirdMAEPretraining: partial(predicting, gated=False),
    AudioMosaicPretraining: contrasting,
}
