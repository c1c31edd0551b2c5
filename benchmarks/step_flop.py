"""What a pretraining step has to compute."""

from __future__ import annotations

import torch

from oscine.models.encoders.frontends.mel import PATCH
from oscine.pretrain import BATPretraining, Recipe


def flop(recipe: Recipe, clips: int) -> float:
    """What a step has to compute, two for a multiplication with its addition, matrix products alone.

    A block costs (24 + 2 gated) dim^2 + 4 tokens dim for each of its tokens; the backward pass costs twice the forward.
    The last block of a decoder turns all patches into keys and values and works on the dropped ones beyond that.
    """
    encoder, decoder = recipe.encoder, recipe.decoder
    keep = recipe.draw_keep(torch.Generator())
    views, kept = keep.shape
    patches = encoder.grid[0] * encoder.grid[1]
    dropped = patches - kept
    gated = isinstance(recipe, BATPretraining)

    def block(dim: int, tokens: int, rows: int | None = None) -> int:
        rows = tokens if rows is None else rows
        return 4 * tokens * dim**2 + rows * ((20 + 2 * gated) * dim**2 + 4 * tokens * dim)

    dim, depth = encoder.dim, encoder.depth
    wide, blocks = decoder.mask_token.shape[2], len(decoder.blocks)
    student = depth * block(dim, 1 + kept)
    length, outputs = (patches, dim) if gated else (1 + patches, PATCH * PATCH)
    enter = 2 * dim * wide * (1 + kept) * (not gated or wide != dim)
    drawn = (blocks - 1) * block(wide, length) + block(wide, length, dropped) + enter + 2 * wide * outputs * dropped
    embedded = 2 * PATCH**2 * dim * (patches if gated else kept * views)
    teacher = 2 * PATCH**2 * dim * patches + depth * block(dim, 1 + patches) if gated else 0
    return clips * (3 * (views * (student + drawn) + embedded) + teacher)
