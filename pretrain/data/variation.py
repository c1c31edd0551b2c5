"""Random roll and gain of the clips of a batch, on the recipe's device."""

from __future__ import annotations

import numpy as np
import torch

from oscine.models.audio.augment import roll
from oscine.models.audio.clip_random import LOUDNESS, SHIFT, per_clip_rand, to_device
from oscine.pretrain.recipe import Batch


def roll_and_gain(batch: Batch, before_filling: bool, gain: bool) -> Batch:
    """Shift each clip around its end by a random number of samples; with `gain`, times Beta(10, 10) + 0.5.

    before_filling: it is the recording's end, behind which silence stays; else the clip's.
    """
    around = batch.heard if before_filling else torch.full_like(batch.heard, batch.waveform.shape[1])
    shifts = (per_clip_rand(batch.seed, SHIFT, 1) * around[:, None]).long()
    waveform = roll(batch.waveform, to_device(shifts, batch.waveform), to_device(around[:, None], batch.waveform))
    if gain:
        drawn = [np.random.default_rng([int(one), LOUDNESS]).beta(10, 10) + 0.5 for one in batch.seed]
        waveform = waveform * to_device(torch.tensor(drawn, dtype=waveform.dtype)[:, None], waveform)
    return batch._replace(waveform=waveform)
