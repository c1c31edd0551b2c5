"""Random roll and gain of the clips of a batch, on the recipe's device."""

from __future__ import annotations

import numpy as np
import torch

from oscine.models.audio.augment import drawn_by, roll, sent
from oscine.pretrain.recipe import Batch

SHIFT, GAIN = 3, 4  # which of a clip's random numbers, see `drawn_by`


def roll_and_gain(batch: Batch, before_filling: bool, gain: bool) -> Batch:
    """Shift each clip around its end by a random number of samples; with `gain`, times Beta(10, 10) + 0.5.

    before_filling: it is the recording's end, behind which silence stays; else the clip's.
    """
    around = batch.heard if before_filling else torch.full_like(batch.heard, batch.waveform.shape[1])
    shifts = (drawn_by(batch.seed, SHIFT, 1) * around[:, None]).long()
    waveform = roll(batch.waveform, sent(shifts, batch.waveform), sent(around[:, None], batch.waveform))
    if gain:
        drawn = [np.random.default_rng([int(one), GAIN]).beta(10, 10) + 0.5 for one in batch.seed]
        waveform = waveform * sent(torch.tensor(drawn, dtype=waveform.dtype)[:, None], waveform)
    return batch._replace(waveform=waveform)
