"""Pretrain Bird-MAE: from a quarter of a spectrogram's patches, draw the others."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, pad

from oscine.models.audio.augment import coloured_noise, draw_mix, mix
from oscine.models.audio.clip_random import batch_generator
from oscine.models.encoders.base.layers import frozen, gather_patches, init_linear
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.frontends.mel import PATCH
from oscine.models.settings_checks import warmup_steps
from oscine.models.timm_parts import Attention, Block, LayerNorm
from oscine.pretrain.decoder import attention_rows, insert_mask_tokens
from oscine.pretrain.masking import dropped_patches, random_keep
from oscine.pretrain.recipe import DrawKeep, Recipe
from oscine.pretrain.schedule import adamw, decay_groups, no_decay_names, warmup_cosine_schedule
from oscine.pretrain.settings import BirdMAESettings

DEFAULTS = BirdMAESettings()
EPSILON = 1e-6  # added to a patch's variance


class BirdMAEPretraining(Recipe):
    """Masked autoencoding of spectrograms (arXiv 2504.12880). `encoder` is what is kept.

    encoder: what is trained and kept. The rest as in `BirdMAESettings`.
    """

    encoder_class = BirdMAE
    settings = BirdMAESettings

    def __init__(
        self,
        encoder: BirdMAE,
        mask_ratio: float = DEFAULTS.mask_ratio,
        mix: float = DEFAULTS.mix,
        mix_most: int = DEFAULTS.mix_most,
        noise: float = DEFAULTS.noise,
        decoder_dim: int = DEFAULTS.decoder_dim,
        decoder_depth: int = DEFAULTS.decoder_depth,
        decoder_heads: int = DEFAULTS.decoder_heads,
        decoder_mlp_ratio: float = DEFAULTS.decoder_mlp_ratio,
        lr: float = DEFAULTS.lr,
        weight_decay: float = DEFAULTS.weight_decay,
        warmup: int | float = DEFAULTS.warmup,
        steps: int = DEFAULTS.steps,
        compile: str | None = DEFAULTS.compile,
    ) -> None:
        super().__init__(encoder, steps, compile)
        # It stays the identity: the loss does not reach it, and several devices want a gradient of all that trains.
        encoder.fc_norm.requires_grad_(False)
        self.decoder = BirdMAEDecoder(encoder, decoder_dim, decoder_depth, decoder_heads, decoder_mlp_ratio)
        self.mask_ratio, self.mix, self.mix_most, self.noise = mask_ratio, mix, mix_most, noise
        self.lr, self.weight_decay = lr, weight_decay
        self.warmup = warmup_steps(warmup, steps, "recipe")
        self.no_decay = no_decay_names(self)

    @property
    def draw_keep(self) -> DrawKeep:
        """Return what draws the mask of one clip: one view."""
        return partial(random_keep, 1, self.encoder.grid, self.mask_ratio)

    def augment(self, waveform: Tensor, seed: Tensor) -> Tensor:  # [clips, samples]
        mixed = mix(waveform, draw_mix(waveform.shape, self.mix, self.mix_most, generator=batch_generator(seed)))
        return coloured_noise(mixed, seed, self.encoder.sample_rate, self.noise) if self.noise else mixed

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Compute the term that is minimised. spectrogram [clips, frames, mel]; keep [clips * views, kept], clip-major."""
        targets = self.targets(spectrogram)
        dropped = dropped_patches(keep, targets.shape[1])
        errors = gather_patches(targets, dropped) - self.predict(spectrogram, keep, dropped)
        return {"reconstruction": errors.square().mean()}

    def targets(self, spectrogram: Tensor) -> Tensor:  # [clips, patches, pixels]
        """Return the pixels of every patch, in units of the patch's own mean and standard deviation."""
        patches = patches_of(spectrogram)
        mean, scale = mean_and_scale(patches)
        return (patches - mean) / scale

    def predict(self, spectrogram: Tensor, keep: Tensor, wanted: Tensor) -> Tensor:  # [views, wanted, pixels]
        """Predict the pixels of the wanted patches [views, wanted], in float32 and units of the patch's mean and scale."""
        return self.decoder(self.encode(spectrogram, keep), keep, wanted).float()

    def encode(self, spectrogram: Tensor, keep: Tensor) -> Tensor:  # [views, 1 + kept, dim]
        """Encode the kept patches as the encoder does; but embed only them, which is a quarter of all."""
        projection = self.encoder.patch_embed.proj
        pixels = gather_patches(patches_of(spectrogram), keep).to(projection.weight.dtype)
        patches = linear(pixels, projection.weight.flatten(1), projection.bias)
        patches = patches + embedding(keep, self.encoder.patch_positions()[0])
        return self.encoder.finish(self.encoder.block_outputs(patches, None, [self.encoder.depth - 1])[0])

    def reconstruct(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Return the decoder's spectrogram, to be drawn."""
        title = "what the decoder draws, with the true mean and scale of every hidden patch"
        return {title: self.predicted_spectrogram(spectrogram, keep)}

    @torch.no_grad()
    def predicted_spectrogram(self, spectrogram: Tensor, keep: Tensor) -> Tensor:  # [clips * views, frames, mel]
        """Return the spectrogram with the dropped patches as predicted; mean and scale of a patch are the true ones."""
        targets = patches_of(spectrogram).repeat_interleave(len(keep) // len(spectrogram), dim=0)
        mean, scale = mean_and_scale(targets)
        every = torch.arange(targets.shape[1], device=keep.device).expand(len(keep), -1)
        predictions = self.predict(spectrogram, keep, every) * scale + mean
        return spectrogram_of(with_kept(predictions, targets, keep), self.encoder.grid[1])

    def configure_optimizers(self) -> Any:
        optimizer = adamw(decay_groups(self, self.no_decay, self.weight_decay), self.lr)
        return warmup_cosine_schedule(optimizer, self.warmup, self.steps)


class BirdMAEDecoder(nn.Module):
    """Plain blocks over CLS, kept tokens and mask tokens; predicts patches' pixels."""

    def __init__(self, encoder: PatchEncoder, dim: int, depth: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.decoder_embed = nn.Linear(encoder.dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        no_position = torch.zeros(1, dim)  # of CLS
        self.decoder_pos_embed = frozen(torch.cat([no_position, encoder.position_table(dim)])[None])
        self.blocks = nn.ModuleList(
            Block(dim, heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm) for _ in range(depth)
        )
        self.decoder_norm = LayerNorm(dim)
        self.decoder_pred = nn.Linear(dim, PATCH * PATCH)
        init_linear(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, keep: Tensor, wanted: Tensor) -> Tensor:  # [views, wanted, pixels]
        """Predict wanted patches. tokens [views, 1 + kept, dim], CLS first; keep [views, kept]; wanted [views, wanted]."""
        places = pad(keep + 1, (1, 0))  # CLS comes first
        tokens = insert_mask_tokens(self.decoder_embed(tokens), places, self.mask_token, self.decoder_pos_embed)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        rows = block_at(cast(Block, self.blocks[-1]), tokens, wanted + 1)
        return self.decoder_pred(self.decoder_norm(rows))


def block_at(block: Block, tokens: Tensor, places: Tensor) -> Tensor:  # [views, places, dim]
    """Compute a block's output at some places alone: other tokens are keys and values of the last block only."""
    normed = block.norm1(tokens)
    rows = gather_patches(tokens, places) + attention_rows(
        cast(Attention, block.attn), gather_patches(normed, places), normed
    )
    return rows + block.mlp(block.norm2(rows))


def mean_and_scale(patches: Tensor) -> tuple[Tensor, Tensor]:  # each [clips, patches, 1]
    """Compute mean and standard deviation of every patch's pixels; unbiased, as the authors have it."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return mean, (variance + EPSILON).sqrt()


def with_kept(others: Tensor, patches: Tensor, keep: Tensor) -> Tensor:  # [views, patches, pixels]
    """Put the patches at the places `keep` [views, kept] over the others."""
    index = keep[..., None].expand(-1, -1, patches.shape[2])
    return others.scatter(1, index, patches.gather(1, index))


def patches_of(spectrogram: Tensor) -> Tensor:  # [clips, patches, pixels]
    """Cut a spectrogram [clips, frames, mel] into patches, time-major; the pixels of a patch too."""
    return rearrange(
        spectrogram, "clip (time height) (freq width) -> clip (time freq) (height width)", height=PATCH, width=PATCH
    )


def spectrogram_of(patches: Tensor, freq: int) -> Tensor:  # [clips, frames, mel]
    """Undo `patches_of`, for `freq` patches over the mel bands."""
    return rearrange(
        patches, "clip (time freq) (height width) -> clip (time height) (freq width)", freq=freq, height=PATCH
    )
