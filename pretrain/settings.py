"""Define the settings of recipes, of their data and of the machine, with their meaning, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from oscine.models.audio.channels import MIX, parse_channel
from oscine.models.errors import OscineError
from oscine.models.files import as_path
from oscine.models.settings_checks import warmup_steps

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # torch.compile's
# Lightning's own; of those that say the same, the longest is usual.
Precision = Literal[
    64, 32, 16, "transformer-engine", "transformer-engine-float16", "16-true", "16-mixed", "bf16-true", "bf16-mixed",
    "32-true", "64-true", "64", "32", "16", "bf16",
]  # fmt: skip
Masks = Literal["published", "axes"]  # of AudioMosaic


@dataclass(frozen=True)
class BATSettings:
    """Settings of BATPretraining: predict what a teacher makes of the patches that are not seen (arXiv 2602.16305).

    Args:
        views: masks of a clip in one step; the clip is embedded once.
        mask_ratio: share of the patches that a view drops.
        block: height and width of the blocks that are kept, in patches.
        adjust: share of the patches by which blocks are drawn too many, since they overlap.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of a decoder block.
        decoder_dim: width of the decoder; null is the encoder's.
        decoder_mlp_ratio: width of a decoder block's MLP over its own.
        lr: peak learning rate.
        lr_floor: least learning rate, at the first step and at the end.
        weight_decay: of every trained parameter.
        warmup: of the steps, for the linear rise to the peak: a share below 1, or a number of steps.
        steps: optimiser steps of the whole run.
        ema_start: the teacher's decay at first.
        ema_end: the teacher's decay after the ramp.
        ema_steps: optimiser steps of the ramp between them.
        compile: mode of torch.compile for the losses, e.g. default, or reduce-overhead (CUDA graphs); null: none.
    """

    views: int = 16
    mask_ratio: float = 0.8
    block: int = 5
    adjust: float = 0.07
    decoder_depth: int = 6
    decoder_heads: int = 12
    decoder_dim: int | None = None
    decoder_mlp_ratio: float = 4.0
    lr: float = 5e-4
    lr_floor: float = 1e-6
    weight_decay: float = 0.05
    warmup: int | float = 0.125
    steps: int = 400_000
    ema_start: float = 0.9998
    ema_end: float = 0.99999
    ema_steps: int = 100_000
    compile: str | None = None

    def __post_init__(self) -> None:
        check_recipe(self, "mask_ratio")


@dataclass(frozen=True)
class BirdMAESettings:
    """Settings of BirdMAEPretraining: draw the patches of a spectrogram that are not seen (arXiv 2504.12880).

    Args:
        mask_ratio: share of the patches that is dropped, without structure.
        mix: share of the clips that get others of the batch laid over them.
        mix_most: how many others at most.
        noise: share of the clips that get coloured noise laid over them; none in the paper's pretraining.
        decoder_dim: width of the decoder.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of a decoder block.
        decoder_mlp_ratio: width of a decoder block's MLP over its own.
        lr: peak learning rate as used: the paper's base rate times (clips a step / 256).
        weight_decay: of matrices and tokens; biases and norms have none.
        warmup: of the steps, for the linear rise to the peak: a share below 1, or a number of steps; the paper has 0.09375.
        steps: optimiser steps of the whole run.
        compile: mode of torch.compile for the losses, e.g. default, or reduce-overhead (CUDA graphs); null: none.
    """

    mask_ratio: float = 0.75
    mix: float = 0.3
    mix_most: int = 2
    noise: float = 0.0
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    decoder_mlp_ratio: float = 4.0
    lr: float = 8e-4
    weight_decay: float = 1e-4
    warmup: int | float = 0.09375
    steps: int = 166_000
    compile: str | None = None

    def __post_init__(self) -> None:
        check_recipe(self, "mask_ratio")


@dataclass(frozen=True)
class AudioMosaicSettings:
    """Settings of AudioMosaicPretraining: find a clip's other view among those of all other clips (arXiv 2605.14231).

    Args:
        masks: which lines of patches the two views hide: published, those of the authors' code (stretches of an eighth of
            the clip; a pattern that comes again eight times in it), or axes, those of the paper's words (stretches of time;
            bands of frequency).
        mask_time: share of the lines that a clip's first view hides.
        mask_freq: share of the lines that its second view hides.
        augmentation: share of the authors' chances with which a view is stretched, filtered, shifted in pitch and so on; 0:
            the views differ in shift, loudness and mask alone.
        projector_hidden: width of the projector's hidden layer.
        projector_dim: width of the vectors that are compared.
        temperature: by which similarities are divided.
        lr: peak learning rate as used.
        lr_end: learning rate at the end.
        weight_decay: of matrices; biases, norms, CLS and positions have none.
        warmup: of the steps, for the linear rise to the peak: a share below 1, or a number of steps; theirs is an epoch.
        steps: optimiser steps of the whole run.
        grad_checkpointing: whether blocks are computed again in the backward pass: the forward pass keeps a ninth, a step
            takes a quarter more time (tiny, on a CPU).
        compile: mode of torch.compile for the losses, e.g. default, or reduce-overhead (CUDA graphs); null: none.
    """

    masks: Masks = "published"
    mask_time: float = 0.6
    mask_freq: float = 0.4
    augmentation: float = 1.0
    projector_hidden: int = 512
    projector_dim: int = 128
    temperature: float = 0.1
    lr: float = 6e-4
    lr_end: float = 1e-6
    weight_decay: float = 0.05
    warmup: int | float = 0.0025
    steps: int = 124_400
    grad_checkpointing: bool = True
    compile: str | None = None

    def __post_init__(self) -> None:
        check_recipe(self, "mask_time", "mask_freq")
        if self.masks not in get_args(Masks):
            raise OscineError(f"recipe.masks is {self.masks!r}, expected {' or '.join(get_args(Masks))}")
        if not 0 <= self.augmentation <= 1 or not self.temperature > 0 or not 0 <= self.lr_end <= self.lr:
            raise OscineError(
                f"recipe.augmentation is {self.augmentation:g}, recipe.temperature {self.temperature:g}, recipe.lr_end "
                f"{self.lr_end:g}: expected a share from 0 (none) to 1 (all), more than 0, and 0 to recipe.lr"
            )


@dataclass(frozen=True)
class DataSettings:
    """Settings of PretrainingData: which recordings, and how they become batches.

    Args:
        recordings: a folder, searched at every depth; a folder of shards that `oscine shards` made, or of tar files in
            webdataset's layout; a manifest (CSV, TSV or Parquet with a column path, relative to it, and optional start and
            end in seconds; or text with a path a line); a folder of BirdSet's as it lies on the Hub, such as XCL, whose
            clips are cut around events; AudioSet's folder; or a list of files.
        batch_size: clips of a step, on each device and in each accumulated part.
        workers: processes that read and resample.
        seconds: length of the clips that are cut; null is the encoder's, a shorter one is filled up in the spectrogram.
        gain: whether a clip is made louder or softer at random, by Beta(10, 10) + 0.5.
        events: of a recording of BirdSet's, for species with more than 500 of them; null is all.
        channel: that is read: mix (the mean of all), left, right, a number from 1, or each, a recording a channel, which tar
            files cannot; shards hold what --channel of `oscine shards` packed.
        bad_share: of clips whose recording cannot be read and is skipped for another, above which the run stops, once 20
            are bad.
    """

    recordings: Path | list[Path]
    batch_size: int = 12
    workers: int = 2
    seconds: float | None = None
    gain: bool = False
    events: int | None = 2
    channel: str | int = MIX
    bad_share: float = 0.05

    def __post_init__(self) -> None:
        as_path(self, "recordings")
        if self.batch_size < 1 or self.workers < 0 or not (self.seconds is None or self.seconds > 0):
            raise OscineError(
                f"data.batch_size is {self.batch_size}, data.workers {self.workers}, data.seconds {self.seconds}: expected "
                "at least 1, at least 0, and null or more than 0"
            )
        if not 0 <= self.bad_share <= 1:
            raise OscineError(f"bad_share is {self.bad_share}, expected a share from 0 (none) to 1 (all)")
        parse_channel(self.channel)


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of Lightning's Trainer: on which machine a run trains, and in which numbers.

    Args:
        accelerator: cpu, gpu, mps or another that Lightning knows; auto is the best that is there.
        devices: how many of them, -1 for all; or which, such as [0, 2]; auto is all GPUs, or one CPU.
        num_nodes: machines of the run.
        strategy: how several devices share the work, such as ddp or fsdp; auto is ddp.
        precision: numbers of the computation: 32-true, bf16-mixed (bfloat16 where that is enough), 16-mixed, or another that
            Lightning knows; null is 32-true.
        accumulate_grad_batches: batches whose gradients are added up for one step.
        gradient_clip_val: largest norm of the gradient; null is any.
    """

    accelerator: str = "auto"
    devices: list[int] | str | int = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Precision | None = None
    accumulate_grad_batches: int = 1
    gradient_clip_val: int | float | None = None


# By the names of the recipes' classes, see `METHODS`.
RECIPES: dict[str, type[Any]] = {
    "BATPretraining": BATSettings,
    "BirdMAEPretraining": BirdMAESettings,
    "AudioMosaicPretraining": AudioMosaicSettings,
}


def check_recipe(settings: BATSettings | BirdMAESettings | AudioMosaicSettings, *hidden: str) -> None:
    """Refuse what no recipe can have. hidden: the settings that say which share is hidden."""
    warmup_steps(settings.warmup, settings.steps, "recipe")
    for name in hidden:
        if not 0 < getattr(settings, name) < 1:
            raise OscineError(
                f"recipe.{name} is {getattr(settings, name):g}, expected a share between 0 (none) and 1 (all)"
            )
    if not 0 <= settings.lr < math.inf:
        raise OscineError(f"recipe.lr is {settings.lr:g}, expected 0 or more")
    check_compile(settings.compile)


def check_compile(compile: str | None) -> None:
    if compile not in (None, *MODES):
        raise OscineError(f"compile is {compile!r}, expected null or one of {', '.join(MODES)}")
