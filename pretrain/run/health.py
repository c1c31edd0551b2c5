"""Measure an encoder while it is pretrained: figures in the log that show a collapse before any probe does."""

from __future__ import annotations

import logging
from typing import Any

import torch
from einops import rearrange
from lightning import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor
from torch.nn.utils import get_total_norm

from oscine.models.encoders.base.eval_mode import evaluating
from oscine.pretrain.recipe import Batch, Recipe
from oscine.pretrain.run.callbacks import EveryNSteps

logger = logging.getLogger(__name__)
CLIPS = 32  # of a batch that are looked at: enough for a spread, cheap beside a step
ROWS = 1024  # patches that an effective rank is taken of: more than most encoders' width
# A run whose features vary over clips by less than this share of what they did at its first step is collapsing, and so is
# one whose patches lie almost on one line. Sound runs of the tiny encoders on ESC-10 fell to 13 % and a rank of 3.8
# (Bird-MAE), 8 % and 1.7 (BAT) in their first 50 steps.
LEAST_SHARE = 0.02
LEAST_RANK = 1.2


class Health(EveryNSteps):
    """Logs every so many steps what the losses do not tell, and warns once of a run that collapses.

    grad_norm     of all gradients of the step, before they are clipped; not where weights are dealt out over devices (fsdp)
    target_std    standard deviation over clips of what is to be predicted or found, the mean over patches and dimensions;
                  left out where the recipe has no `targets`
    feature_std   the same of the encoder's last layer, whose patches are all seen
    feature_rank  effective rank of that layer's patches (RankMe, arXiv 2210.02885)
    and what the recipe's schedules say, such as `teacher_decay`. The means over all processes; names begin with `health/`.

    It looks at the batch of the step, in eval mode and without gradients: neither weights nor random numbers change.
    warns: False where a run is too short to call it collapsed.
    """

    def __init__(self, every: int, warns: bool = True) -> None:
        super().__init__(every)
        self.warns = warns
        self.figures: dict[str, Any] = {}  # of a step that is to be measured when it is done
        self.first_std: float | None = None
        self.warned = False

    def state_dict(self) -> dict[str, Any]:
        return {"first_std": self.first_std, "warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first_std, self.warned = state_dict["first_std"], state_dict["warned"]

    def before_step(self, trainer: Trainer, recipe: Recipe) -> None:
        self.figures = dict(recipe.schedules())
        if not isinstance(trainer.strategy, FSDPStrategy):
            gradients = [weight.grad for weight in recipe.parameters() if weight.grad is not None]
            self.figures["grad_norm"] = get_total_norm(gradients)

    def after_step(self, trainer: Trainer, recipe: Recipe, batch: Batch) -> None:
        with trainer.precision_plugin.forward_context():
            figures = self.figures | measure_health(recipe, batch.waveform[:CLIPS])
        values = torch.stack([torch.as_tensor(value, device=recipe.device).float() for value in figures.values()])
        means = dict(zip(figures, trainer.strategy.reduce(values, reduce_op="mean").tolist(), strict=True))
        for log in trainer.loggers:  # in the row of the step's losses, which are counted from zero
            log.log_metrics({f"health/{name}": value for name, value in means.items()}, trainer.global_step - 1)
        if trainer.is_global_zero:
            self.warn(trainer.global_step, means["feature_rank"], means.get("feature_std"))

    def warn(self, step: int, rank: float, std: float | None) -> None:
        self.first_std = std if self.first_std is None else self.first_std
        # A batch of one clip has no spread.
        share = 1.0 if std is None or not self.first_std else std / self.first_std
        if self.warned or not self.warns or not (share < LEAST_SHARE or rank < LEAST_RANK):
            return
        self.warned = True
        logger.warning(
            "the encoder is collapsing: at step %d its features vary over clips by %.2g of what they did at first, their "
            "effective rank is %.1f; a lower recipe.lr, a longer recipe.warmup or larger batches may do better",
            step, share, rank,
        )  # fmt: skip


@torch.no_grad()
def measure_health(recipe: Recipe, waveform: Tensor) -> dict[str, Tensor]:
    """Measure an encoder's features and what it is to predict, on clips as they are. waveform [clips, samples]."""
    encoder = recipe.encoder
    with evaluating(recipe):
        spectrogram = recipe.spectrogram(waveform)
        targets = recipe.targets(spectrogram)
        features = encoder.finish(encoder.encode(spectrogram, layers=[-1])[0])[:, 1:].float()
    figures = {"feature_rank": effective_rank(rearrange(features, "clip patch dim -> (clip patch) dim"))}
    if len(waveform) > 1:
        figures["feature_std"] = std_over_clips(features)
        if targets is not None:
            figures["target_std"] = std_over_clips(targets.float())
    return figures


def std_over_clips(values: Tensor) -> Tensor:
    """Average the standard deviation over clips over patches and dimensions. values [clips, patches, dim]."""
    return values.std(0, correction=0).mean()


def effective_rank(rows: Tensor, most: int = ROWS) -> Tensor:
    """Compute RankMe (arXiv 2210.02885): e to the entropy of the singular values, as shares of their sum. rows [rows, dim].

    Of more than `most` rows it takes that many, evenly spaced.
    """
    if len(rows) > most:
        rows = rows[torch.linspace(0, len(rows) - 1, most).long()]
    if not rows.isfinite().all():
        return torch.tensor(torch.nan)
    values = torch.linalg.svdvals(rows.cpu())  # a small matrix, which a GPU is no faster with
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp()
