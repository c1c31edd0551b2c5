"""Read the clips of a step of fine-tuning and augment them: waveforms, spectrograms and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from oscine.models.audio.augment import Mix, coloured_noise, draw_mix, mix, rms, roll
from oscine.models.audio.clip_random import (
    BACKGROUND,
    HISS,
    LOUDNESS,
    MASKS,
    MIXUP,
    SHIFT,
    WHICH_BACKGROUND,
    batch_generator,
    derive_seed,
    per_clip_beta,
    per_clip_noise,
    per_clip_rand,
    to_device,
)
from oscine.models.audio.load import audio_info, load_audio, one_clip
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import LabelledClips, Task, warn_of_longer

MIX_SNR, SNR = (2.0, 30.0), (3.0, 30.0)  # decibels, of mixed clips and of backgrounds: arXiv 2504.12880
GAIN = (-18.0, 6.0)  # decibels, there too
OVER, INSTEAD = 0.5, 0.075  # shares of clips over a background, and that a background replaces: arXiv 2504.12880


class Clips(NamedTuple):
    """Clips of one step.

    rows [clips], their numbers in the task; waveform [clips, samples]; lengths [clips], in samples, of what silence fills
    up; seed [clips], of a row in this step, both on the CPU; background [clips, samples], sounds without any class where
    `backgrounds_of` asks for them, or [clips, 0].
    """

    rows: Tensor
    waveform: Tensor
    lengths: Tensor
    seed: Tensor
    background: Tensor


def backgrounds_of(seed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw which clips lie over a background, which one replaces, [clips], and a number in [0, 1) of each, [clips, 1]."""
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
            heard = [self.clips[row] for row in rows.tolist()]
            waveform = torch.stack([one_clip(clip, self.clips.samples) for clip in heard])
            return Clips(rows, waveform, torch.tensor([len(clip) for clip in heard]), seed, self.backgrounds(seed))
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
        """Read a stretch of one of the background's recordings, from any place in it; a shorter one is repeated."""
        path, samples = self.background[int(which * len(self.background))], self.clips.samples
        seconds = samples / self.clips.sample_rate
        start = where * max(0.0, audio_info(path).seconds - seconds)
        heard = load_audio(path, self.clips.sample_rate, start, seconds)
        return heard.repeat(math.ceil(samples / max(1, len(heard))))[:samples]


@torch.no_grad()
def augment_batch(
    encoder: Encoder, clips: Clips, targets: Tensor, kind: TaskKind, settings: TuningSettings
) -> tuple[Tensor, Tensor]:
    """Augment a batch and prepare it: input [clips, ...] on the encoder's device, labels [clips, classes] on the CPU.

    targets [clips, classes]. What is done to a clip depends on its own seed; which clips it is mixed with, on the batch. A
    clip that has to have one label keeps it, being louder than what is laid over it. Shorter clips are filled up by the
    encoder, as those are that it is judged on, unless another sound is laid over them: then they are whole.
    """
    seed, lengths = clips.seed, clips.lengths
    waveform = shift(clips.waveform.to(encoder.device), seed, lengths)
    drawn = draw_mix(waveform.shape, settings.mix, snr=MIX_SNR, generator=batch_generator(seed))
    waveform = mix(waveform, drawn)
    lengths = lengths.index_fill(0, drawn.chosen, waveform.shape[1])
    targets = targets if kind is TaskKind.SINGLE else union_labels(targets, drawn)
    if clips.background.numel():
        over, instead, level = backgrounds_of(seed)
        background = clips.background.to(waveform.device)
        laid = mix_noise(waveform, background, SNR[0] + (SNR[1] - SNR[0]) * level)
        waveform = torch.where(to_device(over[:, None], waveform), laid, waveform)
        lengths = lengths.masked_fill(over, waveform.shape[1])
    waveform = coloured_noise(waveform, seed, encoder.sample_rate, settings.noise, settings.noise_snr)
    waveform = random_gain(waveform, seed, settings.gain, settings.loudness)
    if clips.background.numel() and kind is not TaskKind.SINGLE:
        waveform = torch.where(to_device(instead[:, None], waveform), background, waveform)
        targets = torch.where(instead[:, None], 0.0, targets)
        lengths = lengths.masked_fill(instead, waveform.shape[1])
    if settings.hiss:
        waveform = waveform + settings.hiss * per_clip_noise(waveform, seed ^ HISS)
    heard = [clip[:length] for clip, length in zip(waveform, lengths.tolist(), strict=True)]
    prepared = encoder.prepare_clips(heard, waveform.shape[1])
    if settings.masks:  # refused before, where this is no spectrogram
        prepared = mask_bands(prepared, seed, settings.masks, settings.time_mask, settings.freq_mask)
    return mixup(prepared, targets, seed, settings.mixup)


def shift(waveform: Tensor, seed: Tensor, lengths: Tensor) -> Tensor:  # [clips, samples]
    """Shift every clip around its end by any number of samples; silence that fills it up stays behind. lengths [clips]."""
    around = lengths[:, None]
    shifts = (per_clip_rand(seed, SHIFT, 1) * around).long()
    return roll(waveform, to_device(shifts, waveform), to_device(around, waveform))


def union_labels(targets: Tensor, drawn: Mix) -> Tensor:  # [clips, classes]
    """Give each mixed clip its own labels and those of what is laid over it. targets [clips, classes] of 0 and 1."""
    if not len(drawn.chosen):
        return targets
    own = targets[drawn.chosen]
    return targets.index_copy(0, drawn.chosen, torch.stack([own, *own[drawn.others]]).amax(0))


def mix_noise(waveform: Tensor, background: Tensor, decibels: Tensor) -> Tensor:  # [clips, samples]
    """Lay backgrounds [clips, samples] over clips, at signal-to-noise ratios [clips, 1]; silence adds nothing."""
    level = to_device(10 ** (-decibels / 20), waveform)
    return waveform + rms(waveform) * level * background / rms(background).clamp(min=torch.finfo(background.dtype).eps)


def random_gain(waveform: Tensor, seed: Tensor, probability: float, every: bool = True) -> Tensor:  # [clips, samples]
    """Scale some clips, with `probability`, by a draw from `GAIN`; and all by Beta(10, 10) + 0.5, as in arXiv 2504.12880."""
    drawn = per_clip_rand(seed, LOUDNESS, 2)
    much = torch.where(drawn[:, :1] < probability, 10 ** ((GAIN[0] + (GAIN[1] - GAIN[0]) * drawn[:, 1:]) / 20), 1.0)
    little = per_clip_beta(seed, LOUDNESS, 10.0) + 0.5 if every else 1.0
    return waveform * to_device(little * much, waveform)


def mask_bands(spectrogram: Tensor, seed: Tensor, count: float, time: int, freq: int) -> Tensor:  # [clips, frames, mel]
    """Put 0 into bands of time, and of mel, up to so many frames and mel bands wide: in every clip its own.

    count: how many of each; what is left of a whole number is the chance of one more, drawn for each clip: arXiv 2504.12880
    has 0.3 for a whole batch, by which clips would depend on one another. 0 is silence to BAT, and to the others
    the mean of their data; Bird-MAE's authors put it in before they standardise, which makes it loud, as ConvNeXt_BS' own
    mean of another scale does.
    """
    most = math.ceil(count)
    drawn = per_clip_rand(seed, MASKS, 6 * most).view(len(seed), 2, most, 3)
    for axis, widest in ((1, time), (2, freq)):
        size = spectrogram.shape[axis]
        chance, width, start = drawn[:, axis - 1].unbind(-1)  # [clips, most]
        width = width * min(widest, size) * (chance < count - torch.arange(most))
        begin = (start * (size - width)).long()
        place = torch.arange(size)
        hidden = ((begin[..., None] <= place) & (place < (begin + width.long())[..., None])).any(1)  # [clips, size]
        spectrogram = spectrogram.masked_fill(to_device(hidden, spectrogram).unsqueeze(3 - axis), 0.0)
    return spectrogram


def mixup(prepared: Tensor, targets: Tensor, seed: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Blend clips, with `probability`, and their labels with the batch's in reverse order, by Beta(0.8, 0.8).

    prepared [clips, ...]; targets [clips, classes]. As BAT does (arXiv 2602.16305).
    """
    share = per_clip_beta(seed, MIXUP, 0.8) * (per_clip_rand(seed, MIXUP, 1) < probability)
    return (
        prepared.lerp(prepared.flip(0), to_device(share, prepared).view(-1, *[1] * (prepared.ndim - 1))),
        targets.lerp(targets.flip(0), share),
    )
