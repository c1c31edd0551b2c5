"""The clips of every step of fine-tuning, read from their recordings, each with a seed for what is done to it there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from oscine.models.audio.clip_random import BACKGROUND, WHICH_BACKGROUND, derive_seed, per_clip_rand
from oscine.models.audio.load import audio_info, load_audio, one_clip
from oscine.models.errors import OscineError
from oscine.probe.tasks.task import LabelledClips, Task, warn_of_longer

OVER, INSTEAD = 0.5, 0.075  # shares of clips over a background, and that a background replaces: arXiv 2504.12880


class Clips(NamedTuple):
    """What a step learns from.

    rows [clips], their numbers in the task; waveform [clips, samples]; seed [clips], of a row in this step, on the CPU;
    background [clips, samples], sounds without any class where `backgrounds_of` asks for them, or [clips, 0].
    """

    rows: Tensor
    waveform: Tensor
    seed: Tensor
    background: Tensor


def backgrounds_of(seed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which clips are laid over a background, which one replaces, [clips], and a number in [0, 1) of each, [clips, 1]."""
    drawn = per_clip_rand(seed, BACKGROUND, 3)
    return drawn[:, 0] < OVER, drawn[:, 1] < INSTEAD, drawn[:, 2:]


class TrainingClips(Dataset["Clips | OscineError"]):
    """The clips of a step, given its number and its rows; shorter ones are filled up with silence at their end.

    An error is handed over as it is, where a worker would raise it as the text of its traceback.
    """

    def __init__(
        self, task: Task, sample_rate: int, seconds: float, seed: int, background: Sequence[Path] = ()
    ) -> None:
        self.clips = LabelledClips(task.rows, sample_rate, seconds)
        warn_of_longer(task.rows, seconds)
        self.seed = seed
        self.background = background

    def __getitem__(self, step: tuple[int, Tensor]) -> Clips | OscineError:
        number, rows = step
        seed = torch.tensor([derive_seed(self.seed, number, row) for row in rows.tolist()])
        try:
            waveform = torch.stack([one_clip(self.clips[row], self.clips.samples) for row in rows.tolist()])
            return Clips(rows, waveform, seed, self.backgrounds(seed))
        except OscineError as error:
            return error

    def backgrounds(self, seed: Tensor) -> Tensor:  # [clips, samples]
        if not self.background:
            return torch.empty(len(seed), 0)
        over, instead, _ = backgrounds_of(seed)
        which = per_clip_rand(seed, WHICH_BACKGROUND, 2)
        made = torch.zeros(len(seed), self.clips.samples)
        for clip in (over | instead).nonzero()[:, 0].tolist():
            made[clip] = self.stretch(*which[clip].tolist())
        return made

    def stretch(self, which: float, where: float) -> Tensor:  # [samples]
        """Of one of the background's recordings, from any place in it; a shorter one begins anew."""
        path, samples = self.background[int(which * len(self.background))], self.clips.samples
        seconds = samples / self.clips.sample_rate
        start = where * max(0.0, audio_info(path).seconds - seconds)
        heard = load_audio(path, self.clips.sample_rate, start, seconds)
        return heard.repeat(math.ceil(samples / max(1, len(heard))))[:samples]
