"""Settings of fine-tuning; published numbers stand in configs/finetune/*.yaml, the learning rate there as `fit.lr`.

`finetune.py` applies them, with `learner.encoder_groups`, by which the learning rate decays from layer to layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from oscine.models.encoders.base.precision import FLOAT32, check_precision
from oscine.models.errors import OscineError

SHARES = ("drop_path", "mix", "mixup", "noise", "gain")


def not_trainable(encoder: str) -> str:
    """Say of an encoder without gradients that it cannot be fine-tuned, and what would do."""
    would_do = "take a CONFIG for a frozen encoder, such as linear"
    return f"{encoder} cannot be fine-tuned: no gradients reach its weights; {would_do}"


@dataclass(frozen=True)
class TuningSettings:
    """Settings of fine-tuning an encoder with a probe, beside what the fit's settings say of both.

    Whatever these are, a clip is shifted around its end at random.

    Args:
        layer_decay: of the learning rate, from each block to the one before it; the embeddings learn least.
        drop_path: chance that a clip skips the last block's branches; it falls to 0 at the first block.
        mix: chance that a clip takes part when clips are laid quietly over one another, their labels united.
        mixup: chance that a clip's spectrogram is blended with another's, and its labels as much.
        noise: chance that noise of any colour is laid over a clip.
        noise_snr: how much louder than that noise the clip is, in decibels from and to.
        hiss: amplitude of the white noise that is laid over every clip.
        loudness: make every clip a little louder or softer, by 0.5 to 1.5 times.
        gain: chance that a clip is made louder or softer by -18 to 6 dB.
        masks: how many bands of a spectrogram are hidden in time, and as many in mel; 0.3 is one of each, with that chance,
            drawn for each clip, where Bird-MAE's authors draw it for a batch.
        time_mask: the most frames that such a band hides.
        freq_mask: the most mel bands that it hides.
        background: folder of recordings without any of the classes, laid over half of the clips; where clips may have no
            label, 7.5 % of them are replaced by such a recording. null is none.
        precision: of the encoder while it learns, float32, bfloat16, or auto: bfloat16 on a GPU that has it.
        save_every: steps from one state that is kept, for a killed run to go on from, to the next.
    """

    layer_decay: float = 0.75
    drop_path: float = 0.1
    mix: float = 0.0
    mixup: float = 0.0
    noise: float = 0.0
    noise_snr: tuple[float, float] = (3.0, 30.0)
    hiss: float = 0.0
    loudness: bool = False
    gain: float = 0.0
    masks: float = 0.0
    time_mask: int = 0
    freq_mask: int = 0
    background: Path | None = None
    precision: str = FLOAT32
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise OscineError(
                    f"tuning.{name} is {getattr(self, name)}, expected a chance from 0 (never) to 1 (always)"
                )
        if not 0 < self.layer_decay <= 1 or self.drop_path == 1:
            raise OscineError(
                f"tuning.layer_decay is {self.layer_decay}, tuning.drop_path {self.drop_path}: expected a decay above 0 and "
                "up to 1 (none), and a chance below 1; 0.75 and 0.1 are usual"
            )
        if self.save_every < 1 or min(self.hiss, self.masks, self.time_mask, self.freq_mask) < 0:
            raise OscineError(
                "tuning.save_every, hiss, masks, time_mask or freq_mask is too small; expected 1 step, else 0 at least"
            )
        low, high = self.noise_snr
        if not -math.inf < low <= high < math.inf:
            raise OscineError(f"tuning.noise_snr is [{low}, {high}], expected decibels and no fewer, such as [5, 25]")
        check_precision(self.precision)
