"""Check the waveforms that an encoder is called with: tensors, arrays or lists of clips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oscine.models.audio.load import LOUD
from oscine.models.errors import OscineError

NO_NUMBER = "has samples that are infinite or not a number; leave it out or mend it"
logger = logging.getLogger(__name__)

Waveforms = Tensor | np.ndarray | Sequence[Tensor | np.ndarray]


def as_batch(waveform: Tensor | np.ndarray) -> Tensor:  # [batch, samples]
    """Check a batch of clips [batch, samples]; an array becomes a tensor."""
    waveform = as_tensor(waveform, "waveform")
    if waveform.ndim != 2:
        advice = {
            1: "for one clip pass waveform[None]",
            3: "for [batch, channels, samples] pass waveform.mean(1), which mixes the channels, or waveform[:, 0]",
        }.get(waveform.ndim, "split_clips makes a batch of a long waveform")
        raise OscineError(f"waveform has shape {tuple(waveform.shape)}, expected [batch, samples]; {advice}")
    _check_floats(waveform, "waveform")
    if not waveform.shape[1]:
        raise OscineError(f"waveform has shape {tuple(waveform.shape)}, which holds no samples; leave it out")
    if not _check_numbers(waveform, "waveform"):
        clip = int(waveform.isfinite().all(1).logical_not().nonzero()[0])
        raise OscineError(f"clip {clip} of waveform {NO_NUMBER}")
    return waveform


def as_clips(clips: Sequence[Tensor | np.ndarray], samples: int) -> list[Tensor]:
    """Check clips, [samples] each, of up to `samples` samples; arrays become tensors."""
    if not len(clips):
        raise OscineError("the list of clips is empty; expected tensors [samples]")
    checked = [as_tensor(clip, f"clip {number} of the list") for number, clip in enumerate(clips)]
    for number, clip in enumerate(checked):
        if clip.ndim != 1 or not len(clip):
            raise OscineError(
                f"clip {number} of the list has shape {tuple(clip.shape)}, expected [samples] with one at least; "
                "load_audio gives such clips"
            )
        _check_floats(clip, f"clip {number} of the list")
        if len(clip) > samples:
            raise OscineError(
                f"clip {number} of the list has {len(clip)} samples, this encoder's clips have {samples}; "
                "split_clips(clip, encoder.samples) makes a batch of it"
            )
        if not _check_numbers(clip, f"clip {number} of the list"):
            raise OscineError(f"clip {number} of the list {NO_NUMBER}")
    return checked


def is_list(waveform: Any) -> bool:
    return isinstance(waveform, (list, tuple))


def as_tensor(waveform: Any, name: str) -> Tensor:
    """Make a tensor of an array; refuse what is neither. name: for the error."""
    if isinstance(waveform, Tensor):
        return waveform
    if isinstance(waveform, np.ndarray) and waveform.dtype.kind in "biuf":
        return torch.tensor(np.ascontiguousarray(waveform, waveform.dtype.newbyteorder("=")))
    if isinstance(waveform, (str, Path)):
        raise OscineError(
            f"{name} is a path, {str(waveform)!r}; encoder([load_audio(path, encoder.sample_rate)]) encodes a short file, "
            "embed_file(encoder, path) any file"
        )
    raise OscineError(
        f"{name} is of type {type(waveform).__name__}, expected a tensor or an array; load_audio gives one, a list of "
        "clips of several lengths is taken, too"
    )


def _check_floats(waveform: Tensor, name: str) -> None:
    if not waveform.is_floating_point():
        raise OscineError(
            f"{name} is {waveform.dtype}, expected floats in [-1, 1]; load_audio gives them, int16 / 32768 does too"
        )


def _check_numbers(waveform: Tensor, name: str) -> bool:
    """Return whether all samples are numbers; warn, once, of those that look like int16's."""
    if waveform.is_meta or not waveform.numel() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True  # there are no numbers to look at
    peak = waveform.detach().abs().max().item()  # NaN where one is
    if LOUD < peak < float("inf"):
        _warn_of_scale(name)
    return peak < float("inf")


@cache
def _warn_of_scale(name: str) -> None:
    logger.warning(
        "%s has samples beyond %g, expected floats in [-1, 1]; divide by 32768 if they were int16", name, LOUD
    )
