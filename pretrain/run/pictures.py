"""Draw what a recipe is given, what it sees of it, and what it predicts, while it learns."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor

from oscine.models.encoders.base.eval_mode import evaluating
from oscine.models.encoders.frontends.mel import MelScale
from oscine.models.files import write_whole
from oscine.pretrain.data.clips import collate
from oscine.pretrain.data.datamodule import data_of
from oscine.pretrain.recipe import Batch, Recipe
from oscine.pretrain.run.callbacks import EveryNSteps
from oscine.pretrain.run.files import PICTURES, step_name

logger = logging.getLogger(__name__)

CLIPS = 2  # the run's first, side by side: the same in every picture
GAP = "#d5d9dd"  # where there is nothing
SHOWN = (0.02, 0.98)  # quantiles that are black and white

Panels = dict[str, Tensor]  # by title: [clips, frames, mel], or [clips, time, freq, 3] as colours from 0 to 1


class Pictures(EveryNSteps):
    """Draws at a run's first step and then every so many what its recipe makes of the run's first clips, in one view each
    or as many as a loss is made of.

    A PNG each in `folder`/pictures, and in TensorBoard's log. In eval mode and without gradients: neither weights nor
    random numbers change.
    """

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(every)
        self.folder = folder / PICTURES
        self.clips: Batch | None = None

    def after_step(self, trainer: Trainer, recipe: Recipe, batch: Batch) -> None:
        self.clips = self.clips or first_clips(trainer)
        # In every process, since each may hold but a part of the weights; the first alone draws.
        with trainer.precision_plugin.forward_context():
            panels, losses = panels_of(recipe, self.clips)
        if not trainer.is_global_zero:
            return
        terms = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        try:
            mel_scale = recipe.encoder.frontend.mel_scale
            self.write(trainer, pixels_of(draw(panels, f"step {trainer.global_step}: {terms}", mel_scale)))
        except OSError as error:  # no picture is worth a run, and the other processes would wait for this one
            logger.warning("no picture of step %d: %s", trainer.global_step, error)

    def write(self, trainer: Trainer, pixels: np.ndarray) -> None:
        step = trainer.global_step
        png = io.BytesIO()
        imsave(png, pixels, format="png")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / f"{step_name(step)}.png", png.getvalue())
        for log in trainer.loggers:
            if isinstance(log, TensorBoardLogger):
                log.experiment.add_image("pictures", pixels, step, dataformats="HWC")


def first_clips(trainer: Trainer) -> Batch:
    clips = collate([data_of(trainer).dataset[number] for number in range(CLIPS)])
    assert isinstance(clips, Batch)
    return clips


@torch.no_grad()
def panels_of(recipe: Recipe, clips: Batch) -> tuple[Panels, dict[str, float]]:
    """Return what is to be drawn of some clips, in the first views of each that make a loss, and that."""
    views = recipe.views_in_a_loss
    with evaluating(recipe):
        spectrogram = recipe.spectrogram(clips.waveform.to(recipe.device))
        keep = clips.keep[:, :views].flatten(0, 1).to(recipe.device)
        losses = {name: term.item() for name, term in recipe.losses(spectrogram, keep).items()}
        panels = {"the clip": spectrogram}
        for view in range(views):
            title = "what the encoder sees" + f", view {view + 1}" * (views > 1)
            panels[title] = seen(spectrogram, keep[view::views], recipe.encoder.grid)
        panels |= recipe.reconstruct(spectrogram, keep)
    return {title: images.cpu() for title, images in panels.items()}, losses


def seen(spectrogram: Tensor, keep: Tensor, grid: tuple[int, int]) -> Tensor:  # [clips, frames, mel]
    """Blank a spectrogram with NaN outside the patches `keep` [clips, kept] of a grid (time, freq)."""
    shown = torch.zeros(len(keep), grid[0] * grid[1], dtype=torch.bool, device=keep.device).scatter(1, keep, True)
    patches = shown.unflatten(1, grid)
    height, width = spectrogram.shape[1] // grid[0], spectrogram.shape[2] // grid[1]
    return spectrogram.masked_fill(~patches.repeat_interleave(height, 1).repeat_interleave(width, 2), torch.nan)


def draw(panels: Panels, title: str, mel_scale: MelScale) -> Figure:
    """Draw a row a panel, a column a clip, over seconds and kHz."""
    clips = next(iter(panels.values()))
    figure = Figure(figsize=(4.4 * len(clips), 0.4 + 1.5 * len(panels)), dpi=100, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    rows = figure.subplots(len(panels), len(clips), sharex=True, sharey=True, squeeze=False)
    for row, (name, images) in zip(rows, panels.items(), strict=True):
        row[0].set_title(name, loc="left", fontsize=10)
        row[0].set_ylabel("kHz")
        row[0].set_yticks(list(mel_scale.ticks()), list(mel_scale.ticks().values()))
        for axes, image, clip in zip(row, images, clips, strict=True):
            low, high = np.nanquantile(clip, SHOWN)
            extent = (0.0, len(clip) * mel_scale.frame_seconds, 0.0, clip.shape[1])
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
