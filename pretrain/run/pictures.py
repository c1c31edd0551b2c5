"""Pictures of what a recipe is given, what it sees of it, and what it predicts, drawn while it learns."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor
from torch.optim import Optimizer

from oscine.models.encoders.base.state import evaluating
from oscine.models.encoders.frontends.mel_scale import Ruler
from oscine.models.files import write_whole
from oscine.pretrain.bat import BATPretraining
from oscine.pretrain.bird_mae import BirdMAEPretraining, seen
from oscine.pretrain.data.clips import collate
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.masking import dropped_patches
from oscine.pretrain.recipe import Batch, Recipe
from oscine.pretrain.run.files import PICTURES

logger = logging.getLogger(__name__)

CLIPS = 2  # the run's first, side by side: the same in every picture
GAP = "#d5d9dd"  # where there is nothing
SHOWN = (0.02, 0.98)  # quantiles that are black and white, or the least and the most of a colour

Panels = dict[str, Tensor]  # by title: [clips, frames, mel], or [clips, time, freq, 3] as colours from 0 to 1


class Pictures(Callback):
    """Draws at a run's first step and then every so many what its recipe makes of the run's first clips, in one view each.

    A PNG each in `folder`/pictures, and in TensorBoard's log. In eval mode and without gradients: neither weights nor
    random numbers change.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder / PICTURES, every
        self.due = False
        self.clips: Batch | None = None

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        step = trainer.global_step + 1
        self.due = step == 1 or step % self.every == 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Recipe)
        if not self.due:
            return
        self.due = False
        self.clips = self.clips or first_clips(trainer)
        # In every process, since each may hold but a part of the weights; the first alone draws.
        with trainer.precision_plugin.forward_context():
            panels, losses = look(pl_module, self.clips)
        if not trainer.is_global_zero:
            return
        terms = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        try:
            ruler = pl_module.encoder.frontend.ruler
            self.show(trainer, pixels_of(draw(panels, f"step {trainer.global_step}: {terms}", ruler)))
        except OSError as error:  # no picture is worth a run, and the other processes would wait for this one
            logger.warning("no picture of step %d: %s", trainer.global_step, error)

    def show(self, trainer: Trainer, pixels: np.ndarray) -> None:
        step = trainer.global_step
        png = io.BytesIO()
        imsave(png, pixels, format="png")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / f"step_{step:07d}.png", png.getvalue())
        for log in trainer.loggers:
            if isinstance(log, TensorBoardLogger):
                log.experiment.add_image("pictures", pixels, step, dataformats="HWC")


def first_clips(trainer: Trainer) -> Batch:
    data = getattr(trainer, "datamodule", None)
    assert isinstance(data, PretrainingData), "clips are known by their numbers"
    clips = collate([data.dataset[number] for number in range(CLIPS)])
    assert isinstance(clips, Batch)
    return clips


@torch.no_grad()
def look(recipe: Recipe, clips: Batch) -> tuple[Panels, dict[str, float]]:
    """What is to be drawn of some clips, in the first view of each, and the losses on it."""
    with evaluating(recipe):
        spectrogram = recipe.spectrogram(clips.waveform.to(recipe.device))
        keep = clips.keep[:, 0].to(recipe.device)
        losses = {name: term.item() for name, term in recipe.losses(spectrogram, keep).items()}
        panels = {"the clip": spectrogram, "what the encoder sees": seen(spectrogram, keep)}
        for kind, predicted in PREDICTED.items():
            if isinstance(recipe, kind):
                panels |= predicted(recipe, spectrogram, keep)
    return {title: images.cpu() for title, images in panels.items()}, losses


def predicted_pixels(recipe: BirdMAEPretraining, spectrogram: Tensor, keep: Tensor) -> Panels:
    drawn = recipe.reconstruct(spectrogram, keep)
    return {"what the decoder draws, with the true mean and scale of every hidden patch": drawn}


def predicted_latents(recipe: BATPretraining, spectrogram: Tensor, keep: Tensor) -> Panels:
    """Targets and predictions as colours: they are no sound, and too many numbers a patch to draw them all."""
    targets = recipe.targets(spectrogram)
    dropped = dropped_patches(keep, targets.shape[1])
    tokens = recipe.encoder.encode(spectrogram, keep, layers=[-1])[0]
    index = dropped[..., None].expand(-1, -1, targets.shape[2])
    predictions = torch.full_like(targets, torch.nan)
    predictions.scatter_(1, index, recipe.decoder(tokens[:, 1:], keep, dropped).float())
    shown = colours(targets.double().cpu(), predictions.double().cpu())  # which mixed precision leaves as they are
    by_time = partial(
        rearrange, pattern="clip (time freq) colour -> clip time freq colour", freq=recipe.encoder.grid[1]
    )
    return {
        f"what the teacher makes of the clip: three principal components ({shown.share:.0%} of its variance) as colours": (
            by_time(shown.targets)
        ),
        "what the decoder predicts of that, in the same colours": by_time(shown.predictions),
    }


# What each recipe predicts, after its target where that is not the clip.
PREDICTED: dict[type, Callable[[Any, Tensor, Tensor], Panels]] = {
    BirdMAEPretraining: predicted_pixels,
    BATPretraining: predicted_latents,
}


class Colours(NamedTuple):
    """targets and predictions [clips, patches, 3]; share of the targets' variance that they show."""

    targets: Tensor
    predictions: Tensor
    share: float


def colours(targets: Tensor, predictions: Tensor) -> Colours:
    """A clip's targets along their first three principal components, and its predictions along the same.

    Both [clips, patches, dim], and on the scale of the clip's targets; NaN stays NaN.
    """
    mean = targets.mean(1, keepdim=True)
    # Of a run that has diverged nothing is drawn; it is for others to stop it.
    values, axes = torch.linalg.svd((targets - mean).nan_to_num(), full_matrices=False)[1:]
    axes = axes[:, :3] * axes[:, :3].sum(2, keepdim=True).sign()  # either way is an axis: this one in every picture
    aimed, made = (targets - mean) @ axes.mT, (predictions - mean) @ axes.mT
    low, high = aimed.quantile(targets.new_tensor(SHOWN), dim=1, keepdim=True)
    aimed, made = ((along - low) / (high - low) for along in (aimed, made))
    share = (values[:, :3].square().sum(1) / values.square().sum(1)).mean().item()
    return Colours(aimed.clamp(0, 1), made.clamp(0, 1), share)


def draw(panels: Panels, title: str, ruler: Ruler) -> Figure:
    """A row a panel, a column a clip, over seconds and kHz."""
    clips = next(iter(panels.values()))
    figure = Figure(figsize=(4.4 * len(clips), 0.4 + 1.5 * len(panels)), dpi=100, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    rows = figure.subplots(len(panels), len(clips), sharex=True, sharey=True, squeeze=False)
    for row, (name, images) in zip(rows, panels.items(), strict=True):
        row[0].set_title(name, loc="left", fontsize=10)
        row[0].set_ylabel("kHz")
        row[0].set_yticks(list(ruler.ticks()), list(ruler.ticks().values()))
        for axes, image, clip in zip(row, images, clips, strict=True):
            low, high = np.nanquantile(clip, SHOWN)
            extent = (0.0, len(clip) * ruler.frame_seconds, 0.0, clip.shape[1])
            axes.set_facecolor(GAP)
            shown = np.ma.masked_invalid(image.transpose(0, 1))
            axes.imshow(
                shown, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high, extent=extent,
                interpolation="nearest",
            )  # fmt: skip
    for axes in rows[-1]:
        axes.set_xlabel("seconds")
    return figure


def pixels_of(figure: Figure) -> np.ndarray:  # [height, width, 3], bytes
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
