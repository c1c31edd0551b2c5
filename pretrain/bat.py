"""Pretrain BAT: a student that sees a fifth of the patches predicts what an EMA teacher makes of them all."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from oscine.models.compat import lerp_all_
from oscine.models.encoders.base.layers import GatedPostNormBlock, gather_patches, init_linear
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.models.encoders.bat import BAT
from oscine.models.settings_checks import warmup_steps
from oscine.pretrain.decoder import attention_rows, insert_mask_tokens
from oscine.pretrain.masking import block_keep, dropped_patches
from oscine.pretrain.recipe import DrawKeep, Recipe
from oscine.pretrain.schedule import adamw, share_of, teacher_decay, warmup_cosine_schedule
from oscine.pretrain.settings import BATSettings

DEFAULTS = BATSettings()
EPSILON = 1e-6  # inside every root of a standard deviation


class BATPretraining(Recipe):
    """Latent regression against an EMA teacher (arXiv 2602.16305). `encoder` is the student and what is kept.

    encoder: the student; the teacher starts as its copy. The rest as in `BATSettings`.
    """

    encoder_class = BAT
    settings = BATSettings
    roll_before_pad = True

    def __init__(
        self,
        encoder: PatchEncoder,
        views: int = DEFAULTS.views,
        mask_ratio: float = DEFAULTS.mask_ratio,
        block: int = DEFAULTS.block,
        adjust: float = DEFAULTS.adjust,
        decoder_depth: int = DEFAULTS.decoder_depth,
        decoder_heads: int = DEFAULTS.decoder_heads,
        decoder_dim: int | None = DEFAULTS.decoder_dim,
        decoder_mlp_ratio: float = DEFAULTS.decoder_mlp_ratio,
        lr: float = DEFAULTS.lr,
        lr_floor: float = DEFAULTS.lr_floor,
        weight_decay: float = DEFAULTS.weight_decay,
        warmup: int | float = DEFAULTS.warmup,
        steps: int = DEFAULTS.steps,
        ema_start: float = DEFAULTS.ema_start,
        ema_end: float = DEFAULTS.ema_end,
        ema_steps: int = DEFAULTS.ema_steps,
        compile: str | None = DEFAULTS.compile,
    ) -> None:
        super().__init__(encoder, steps, compile)
        self.teacher = copy.deepcopy(encoder).requires_grad_(False).eval()  # `train` keeps it so
        self.decoder = BATDecoder(encoder, decoder_depth, decoder_heads, decoder_dim, decoder_mlp_ratio)
        self.views, self.mask_ratio, self.block, self.adjust = views, mask_ratio, block, adjust
        self.lr, self.lr_floor, self.weight_decay = lr, lr_floor, weight_decay
        self.warmup = warmup_steps(warmup, steps, "recipe")
        self.ema_start, self.ema_end, self.ema_steps = ema_start, ema_end, ema_steps

    @property
    def draw_keep(self) -> DrawKeep:
        """Return what draws the masks of one clip."""
        return partial(block_keep, self.views, self.encoder.grid, self.mask_ratio, self.block, self.adjust)

    def train(self, mode: bool = True) -> BATPretraining:
        """Set the mode of all but the teacher, which stays in eval mode: nothing random is in what the student learns."""
        super().train(mode)
        self.teacher.eval()
        return self

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Compute the terms of the loss. spectrogram [clips, frames, mel]; keep [clips * views, kept], clip-major."""
        tokens = self.encoder.encode(spectrogram, keep, layers=[-1])[0]
        targets = self.targets(spectrogram)
        dropped = dropped_patches(keep, targets.shape[1])
        predictions = self.decoder(tokens[:, 1:], keep, dropped)
        cls = rearrange(tokens[:, 0], "(clip view) dim -> clip view dim", clip=len(targets))
        errors = gather_patches(targets, dropped).sub_(predictions)  # in place: nothing in a step is larger
        return {
            "local": errors.square().mean(),
            "global": (cls - targets.mean(1, keepdim=True)).square().mean(),
        }

    @torch.no_grad()
    def targets(self, spectrogram: Tensor) -> Tensor:  # [clips, patches, dim]
        """Average the teacher's layers for every patch, each layer normalised over the clip's patches."""
        tokens = self.teacher.begin(self.teacher.embed(spectrogram))
        total = torch.zeros_like(tokens[:, 1:], dtype=torch.float32)
        for block in self.teacher.blocks:
            tokens = block(tokens)
            total += standardised(tokens[:, 1:].float())  # now: no layer is kept for later
        return layer_norm(total / self.teacher.depth, total.shape[-1:], eps=EPSILON)

    @torch.no_grad()
    def reconstruct(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Return targets and predictions as colours: they are no sound, and too many numbers a patch for more."""
        targets = self.targets(spectrogram)
        dropped = dropped_patches(keep, targets.shape[1])
        tokens = self.encoder.encode(spectrogram, keep, layers=[-1])[0]
        index = dropped[..., None].expand(-1, -1, targets.shape[2])
        predictions = torch.full_like(targets, torch.nan)
        predictions.scatter_(1, index, self.decoder(tokens[:, 1:], keep, dropped).float())
        shown = colours(targets.double().cpu(), predictions.double().cpu())  # which mixed precision leaves as they are
        by_time = partial(
            rearrange, pattern="clip (time freq) colour -> clip time freq colour", freq=self.encoder.grid[1]
        )
        of_clip = f"three principal components ({shown.share:.0%} of its variance) as colours"
        return {
            f"what the teacher makes of the clip: {of_clip}": by_time(shown.targets),
            "what the decoder predicts of that, in the same colours": by_time(shown.predictions),
        }

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        # Weight decay on everything that trains, norms, biases, tokens and decoder positions included.
        optimizer = adamw([{"params": trained, "weight_decay": self.weight_decay}], self.lr)
        return warmup_cosine_schedule(optimizer, self.warmup, self.steps, share_of(self.lr_floor, self.lr))

    def schedules(self) -> dict[str, float]:
        """Return the teacher's decay after the coming optimiser step."""
        return {"teacher_decay": teacher_decay(self.trainer.global_step, self.ema_start, self.ema_end, self.ema_steps)}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        decay = self.schedules()["teacher_decay"]
        super().optimizer_step(*args, **kwargs)
        self.update_teacher(decay)

    @torch.no_grad()
    def update_teacher(self, decay: float) -> None:
        """Move the teacher: decay * teacher + (1 - decay) * student, over the encoder's parameters."""
        teacher: list[Tensor] = list(self.teacher.parameters())
        student: list[Tensor] = list(self.encoder.parameters())
        lerp_all_(teacher, student, 1 - decay)


class BATDecoder(nn.Module):
    """Gated post-norm blocks over kept tokens and mask tokens, with trained positions; predicts the dropped patches."""

    def __init__(self, encoder: PatchEncoder, depth: int, heads: int, dim: int | None, mlp_ratio: float) -> None:
        super().__init__()
        dim = dim or encoder.dim
        self.in_proj = nn.Linear(encoder.dim, dim, bias=False) if dim != encoder.dim else nn.Identity()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(encoder.position_table(dim)[None])
        self.blocks = nn.ModuleList(GatedPostNormBlock(dim, heads, mlp_ratio) for _ in range(depth))
        self.out_proj = nn.Linear(dim, encoder.dim, bias=False)
        init_linear(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, keep: Tensor, dropped: Tensor) -> Tensor:  # [views, dropped, dim]
        """Predict dropped patches. tokens [views, kept, dim] at places keep [views, kept]; dropped [views, dropped]."""
        positions = self.pos_embed[:, : keep.shape[1] + dropped.shape[1]]
        tokens = insert_mask_tokens(self.in_proj(tokens), keep, self.mask_token, positions)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return self.out_proj(block_at(cast(GatedPostNormBlock, self.blocks[-1]), tokens, dropped))


def block_at(block: GatedPostNormBlock, tokens: Tensor, places: Tensor) -> Tensor:  # [views, places, dim]
    """Compute a block's output at some places alone: kept patches are keys and values of the last block only."""
    rows = gather_patches(tokens, places)
    rows = block.norm1(rows + attention_rows(block.attn, rows, tokens))
    return block.norm2(rows + block.mlp(rows))


def standardised(tokens: Tensor) -> Tensor:
    """Give each clip and channel zero mean and unit (biased) variance over its patches. tokens [clips, patches, dim]."""
    variance, mean = torch.var_mean(tokens, dim=1, correction=0, keepdim=True)
    return (tokens - mean) / (variance + EPSILON).sqrt()


RANGE = (0.02, 0.98)  # quantiles of a clip's targets that are the least and the most of a colour


class Colours(NamedTuple):
    """targets and predictions [clips, patches, 3]; share of the targets' variance that they show."""

    targets: Tensor
    predictions: Tensor
    share: float


def colours(targets: Tensor, predictions: Tensor) -> Colours:
    """Project a clip's targets on their first three principal components, and its predictions on the same.

    Both [clips, patches, dim], and on the scale of the clip's targets; NaN stays NaN.
    """
    mean = targets.mean(1, keepdim=True)
    # Of a run that has diverged nothing is drawn; it is for others to stop it.
    values, axes = torch.linalg.svd((targets - mean).nan_to_num(), full_matrices=False)[1:]
    axes = axes[:, :3] * axes[:, :3].sum(2, keepdim=True).sign()  # either way is an axis: this one in every picture
    aimed, made = (targets - mean) @ axes.mT, (predictions - mean) @ axes.mT
    low, high = aimed.quantile(targets.new_tensor(RANGE), dim=1, keepdim=True)
    aimed, made = ((along - low) / (high - low) for along in (aimed, made))
    share = (values[:, :3].square().sum(1) / values.square().sum(1)).mean().item()
    return Colours(aimed.clamp(0, 1), made.clamp(0, 1), share)
