"""Pretraining steps as a textbook writes them, from the papers' formulas, on a recipe's weights.

Every view goes through frontend and patch embedding, attention is spelled out, the decoder and the loss work on all patches,
targets are copied for every view.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad

from oscine.models.encoders.frontends.mel import PATCH
from oscine.pretrain import AudioMosaicPretraining, BATPretraining, BirdMAEPretraining, Recipe


def attention(module: nn.Module, tokens: Tensor) -> Tensor:
    queries, keys, values = rearrange(
        module.qkv(tokens), "batch token (part head dim) -> part batch head token dim", part=3, head=module.num_heads
    )
    weights = ((queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)).softmax(-1)
    heads = rearrange(weights @ values, "batch head token dim -> batch token (head dim)")
    gate = 1.0 if module.gate is None else module.gate(tokens).sigmoid()
    return module.proj(heads * gate)


def post_norm(block: nn.Module, tokens: Tensor) -> Tensor:
    tokens = block.norm1(tokens + attention(block.attn, tokens))
    return block.norm2(tokens + block.mlp(tokens))


def pre_norm(block: nn.Module, tokens: Tensor) -> Tensor:
    tokens = tokens + attention(block.attn, block.norm1(tokens))
    return tokens + block.mlp(block.norm2(tokens))


def layers(encoder: nn.Module, spectrogram: Tensor, keep: Tensor | None, block: Callable[..., Tensor]) -> list[Tensor]:
    """Every block's output. spectrogram and keep have as many rows."""
    patches = encoder.patch_embed(spectrogram[:, None])
    patches = patches + encoder.patch_positions()[:, : patches.shape[1]]
    if keep is not None:
        patches = patches.gather(1, keep[..., None].expand(-1, -1, patches.shape[2]))
    tokens = encoder.begin(patches)
    return list(accumulate(encoder.blocks, lambda tokens, module: block(module, tokens), initial=tokens))[1:]


def placed(kept: Tensor, keep: Tensor, mask_token: Tensor, patches: int) -> Tensor:
    return repeat(mask_token.to(kept.dtype), "1 1 dim -> view patch dim", view=len(kept), patch=patches).scatter(
        1, keep[..., None].expand_as(kept), kept
    )


def over_dropped(errors: Tensor, keep: Tensor) -> Tensor:
    """Mean over the patches that are not kept. errors [views, patches]."""
    dropped = torch.ones_like(errors).scatter(1, keep, 0.0)
    return (errors * dropped).sum() / dropped.sum()


def plain_bat(recipe: BATPretraining, waveform: Tensor, keep: Tensor) -> dict[str, Tensor]:
    views = len(keep) // len(waveform)
    seen = recipe.spectrogram(waveform.repeat_interleave(views, dim=0))
    with torch.no_grad():
        outputs = torch.stack(
            [x[:, 1:].float() for x in layers(recipe.teacher, recipe.spectrogram(waveform), None, post_norm)]
        )
        variance, mean = torch.var_mean(outputs, dim=2, correction=0, keepdim=True)
        normed = ((outputs - mean) / (variance + 1e-6).sqrt()).mean(0)
        targets = layer_norm(normed, normed.shape[-1:], eps=1e-6).repeat_interleave(views, dim=0)
    tokens = layers(recipe.encoder, seen, keep, post_norm)[-1]
    decoder = recipe.decoder
    drawn = placed(decoder.in_proj(tokens[:, 1:]), keep, decoder.mask_token, targets.shape[1])
    drawn = drawn + decoder.pos_embed[:, : drawn.shape[1]]
    for block in decoder.blocks:
        drawn = post_norm(block, drawn)
    errors = (decoder.out_proj(drawn).float() - targets).square().mean(2)
    return {
        "local": over_dropped(errors, keep),
        "global": (tokens[:, 0].float() - targets.mean(1)).square().mean(),
    }


def plain_bird_mae(recipe: BirdMAEPretraining, waveform: Tensor, keep: Tensor) -> dict[str, Tensor]:
    seen = recipe.spectrogram(waveform.repeat_interleave(len(keep) // len(waveform), dim=0))
    pixels = rearrange(
        seen, "view (time height) (freq width) -> view (time freq) (height width)", height=PATCH, width=PATCH
    )
    variance, mean = torch.var_mean(pixels, dim=2, keepdim=True)
    decoder = recipe.decoder
    tokens = decoder.decoder_embed(recipe.encoder.norm(layers(recipe.encoder, seen, keep, pre_norm)[-1]))
    patches = placed(tokens[:, 1:], keep, decoder.mask_token, pixels.shape[1])
    drawn = torch.cat([tokens[:, :1], patches], dim=1) + decoder.decoder_pos_embed
    for block in decoder.blocks:
        drawn = pre_norm(block, drawn)
    predictions = decoder.decoder_pred(decoder.decoder_norm(drawn))[:, 1:].float()
    errors = (predictions - (pixels - mean) / (variance + 1e-6).sqrt()).square().mean(2)
    return {"reconstruction": over_dropped(errors, keep)}


def plain_audiomosaic(recipe: AudioMosaicPretraining, waveform: Tensor, keep: Tensor) -> dict[str, Tensor]:
    """Tokens are hidden where the authors do it, after the norm of all of them; the loss as the paper's formula."""
    encoder, made = recipe.encoder, []
    for view, kept in enumerate(recipe.kept):
        shown = pad(keep[view :: len(recipe.kept), :kept] + 1, (1, 0))  # with CLS
        tokens = encoder.begin(encoder.embed(recipe.spectrogram(waveform)))
        tokens = tokens.gather(1, shown[..., None].expand(-1, -1, encoder.dim))
        for block in encoder.blocks:
            tokens = pre_norm(block, tokens)
        made.append(recipe.projector(encoder.fc_norm(tokens.mean(1)).float()))
    vectors = torch.cat(made)
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    near = (vectors @ vectors.T / recipe.temperature).exp()
    near = near * (1 - torch.eye(len(near), device=near.device))
    other = torch.arange(len(near), device=near.device).roll(len(waveform))
    return {"contrastive": -(near.gather(1, other[:, None])[:, 0] / near.sum(1)).log().mean()}


def plain_teacher(recipe: Recipe, decay: float) -> None:
    if isinstance(recipe, BATPretraining):
        for slow, fast in zip(recipe.teacher.parameters(), recipe.encoder.parameters()):
            slow.data = decay * slow.data + (1 - decay) * fast.data
