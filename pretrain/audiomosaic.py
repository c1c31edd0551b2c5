"""Pretrain AudioMosaic: two views of a clip, each seen in part, find each other among the views of all other clips."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.errors import OscineError
from oscine.models.settings_checks import warmup_steps
from oscine.models.text.words import counted
from oscine.pretrain.distributed import gather_rows
from oscine.pretrain.masking import kept_count, line_keep
from oscine.pretrain.recipe import DrawKeep, Recipe
from oscine.pretrain.schedule import adamw, decay_groups, no_decay_names, share_of, warmup_cosine_schedule
from oscine.pretrain.settings import AudioMosaicSettings, Masks
from oscine.pretrain.views import VIEWS, two_views

DEFAULTS = AudioMosaicSettings()

# Which axes of the grid (time, freq) are the rows and the columns that the two masks hide. The authors' code takes patches,
# which run along frequency first, for an image of `freq` rows and `time` columns. On 64 x 8 patches a row of it is then
# an eighth of the clip over all mel, and a column one place of an 8 x 8 tile that comes again every 1.28 s.
MASKS: dict[Masks, tuple[int, int]] = {"published": (1, 0), "axes": (0, 1)}

SMALL, PUBLISHED = 256, 6144  # clips at once: the fewest that SimCLR's paper looks at (arXiv 2002.05709), the authors'


class AudioMosaicPretraining(Recipe):
    """Contrast of two masked views (arXiv 2605.14231). `encoder` is what is kept.

    encoder: what is trained and kept. The rest as in `AudioMosaicSettings`. The loss is of the clips of all processes; of
    a step in parts, of each part by itself.
    """

    encoder_class = AudioMosaic
    settings = AudioMosaicSettings
    views_in_a_loss = VIEWS

    def __init__(
        self,
        encoder: AudioMosaic,
        masks: Masks = DEFAULTS.masks,
        mask_time: float = DEFAULTS.mask_time,
        mask_freq: float = DEFAULTS.mask_freq,
        augmentation: float = DEFAULTS.augmentation,
        projector_hidden: int = DEFAULTS.projector_hidden,
        projector_dim: int = DEFAULTS.projector_dim,
        temperature: float = DEFAULTS.temperature,
        lr: float = DEFAULTS.lr,
        lr_end: float = DEFAULTS.lr_end,
        weight_decay: float = DEFAULTS.weight_decay,
        warmup: int | float = DEFAULTS.warmup,
        steps: int = DEFAULTS.steps,
        grad_checkpointing: bool = DEFAULTS.grad_checkpointing,
        compile: str | None = DEFAULTS.compile,
    ) -> None:
        super().__init__(encoder, steps, compile)
        encoder.set_grad_checkpointing(grad_checkpointing)
        self.projector = projector(encoder.dim, projector_hidden, projector_dim)
        self.masks: Masks = masks
        self.mask_time, self.mask_freq = mask_time, mask_freq
        self.augmentation, self.temperature = augmentation, temperature
        self.lr, self.lr_end, self.weight_decay = lr, lr_end, weight_decay
        self.warmup = warmup_steps(warmup, steps, "recipe")
        self.no_decay = no_decay_names(self) | {f"encoder.{name}" for name in encoder.no_weight_decay()}

    @property
    def draw_keep(self) -> DrawKeep:
        """Return what draws the masks of one clip: of its first view by rows, of its second by columns."""
        return partial(draw_masks, self.lines, self.mask_time, self.mask_freq)

    @property
    def lines(self) -> tuple[int, int]:
        """Return how many rows and columns the patches have in the masks' eyes."""
        rows, columns = MASKS[self.masks]
        return self.encoder.grid[rows], self.encoder.grid[columns]

    @property
    def kept(self) -> tuple[int, int]:
        """Count the patches that each view shows."""
        rows, columns = self.lines
        return kept_count(rows, self.mask_time, "lines") * columns, kept_count(columns, self.mask_freq, "lines") * rows

    def augment(self, waveform: Tensor, seed: Tensor) -> Tensor:  # [clips * views, samples]
        return two_views(waveform, seed, self.encoder.sample_rate, self.augmentation)

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Compute the loss. spectrogram [clips * views, frames, mel], or the views' common one; keep as in `Recipe`."""
        return {"contrastive": contrast(*self.project(spectrogram, keep), temperature=self.temperature)}

    def project(self, spectrogram: Tensor, keep: Tensor) -> list[Tensor]:  # a view each: [clips, dim]
        """Encode what each view shows, and project it; in training the clips are those of all processes."""
        spectrogram = spectrogram.repeat_interleave(len(keep) // len(spectrogram), dim=0)
        return [
            self.project_pooled(spectrogram[view::VIEWS], keep[view::VIEWS, :kept])
            for view, kept in enumerate(self.kept)
        ]

    def project_pooled(self, spectrogram: Tensor, keep: Tensor | None = None) -> Tensor:  # [clips, dim]
        """Project what the encoder pools of one view, or of whole clips."""
        pooled = self.encoder.pool(self.encoder.encode(spectrogram, keep, layers=[-1])[0])
        if self.training:
            pooled = gather_rows(pooled)  # here, so that batch norms see the clips of all processes, too
            if len(pooled) < 2:
                raise OscineError("a step has one clip, with no others to differ from; data.batch_size 2 at least")
        with without_autocast(pooled):
            return self.projector(pooled)

    def targets(self, spectrogram: Tensor) -> Tensor:  # [clips, 1, dim]
        """Return what views are to find: the clip's own direction, which says nothing once all clips have the same.

        Vectors of length 1 that lie anywhere vary over clips by dim^-1/2 in each dimension.
        """
        return normalize(self.project_pooled(spectrogram), dim=1)[:, None]

    def warning_for(self, clips: int) -> str:
        if clips >= SMALL:
            return ""
        return (
            f"a clip is told from {counted(clips - 1, 'other')}, in the authors' run from {PUBLISHED - 1}: few make it "
            "easy, and less is learnt; a larger data.batch_size and more devices give more, accumulated parts do not"
        )

    def configure_optimizers(self) -> Any:
        optimizer = adamw(decay_groups(self, self.no_decay, self.weight_decay), self.lr, betas=(0.9, 0.999))
        return warmup_cosine_schedule(optimizer, self.warmup, self.steps, end=share_of(self.lr_end, self.lr))


def projector(dim: int, hidden: int, out: int) -> nn.Sequential:
    """Make the map from `pooled` to where views are compared; the last bias stays 0."""
    last = nn.BatchNorm1d(out)
    last.bias.requires_grad_(False)
    first, second = nn.Linear(dim, hidden, bias=False), nn.Linear(hidden, out, bias=False)
    for layer in (first, second):
        nn.init.trunc_normal_(layer.weight, std=0.02)
    return nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(), second, last)


def contrast(one: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """Compute NT-Xent (arXiv 2002.05709): which of all other vectors is a clip's other view? Both [clips, dim]."""
    clips = len(one)
    vectors = normalize(torch.cat([one, other]).to(torch.promote_types(one.dtype, torch.float32)), dim=1)
    with without_autocast(vectors):  # at a temperature of 0.1 bfloat16's similarities are off by several per cent
        similarity = vectors @ vectors.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * clips, dtype=torch.bool, device=one.device), -torch.inf)
    partner = torch.arange(2 * clips, device=one.device).roll(clips)
    return cross_entropy(similarity, partner)


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Switch autocast off, which would take half the digits, on a tensor's device."""
    return nullcontext() if tensor.is_meta else torch.autocast(tensor.device.type, enabled=False)


def draw_masks(lines: tuple[int, int], time: float, freq: float, generator: torch.Generator) -> Tensor:  # [views, kept]
    """Draw both masks of a clip; the shorter list of patches repeats its last one."""
    drawn = [line_keep(1, lines, axis, ratio, generator)[0] for axis, ratio in enumerate((time, freq))]
    longest = max(map(len, drawn))
    return torch.stack([torch.cat([keep, keep[-1:].expand(longest - len(keep))]) for keep in drawn])
