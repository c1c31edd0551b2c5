"""Offer HEAR 2021's common API for any encoder: one vector a sound, and one every 40 ms or so.

oscine.models.hear_api   the module that HEAR's tools are given; its model file is a name or a folder, or "" for the
                         encoder that comes with oscine
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import soxr
import torch
from torch import Tensor, nn

from oscine.models.audio.waveforms import as_batch
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.eval_mode import evaluating
from oscine.models.errors import OscineError
from oscine.models.hub.folder import WEIGHTS
from oscine.models.hub.model_name import LOCAL, ModelName
from oscine.models.zoo import create_model

BUNDLED = "bird_mae_tiny"
RATES = (16000, 22050, 44100, 48000)  # in which HEAR's sounds come, the only ones that its tools allow
BATCH = 32  # clips that the encoder takes at a time
SPACING = 0.05  # seconds between timestamps at most: HEAR's tolerance of onsets


class HearModel(nn.Module):
    """An encoder with the attributes that HEAR reads.

    sample_rate               of the sounds, the encoder's own or the rate of HEAR's that is easiest to convert to it
    scene_embedding_size      of a vector a sound
    timestamp_embedding_size  of a vector a moment
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.sample_rate = hear_rate(encoder.sample_rate)
        self.scene_embedding_size = encoder.dim
        self.timestamp_embedding_size = encoder.dim


def load_model(model_file_path: str | Path = "") -> HearModel:
    """Load an encoder with its weights: a name, "hf-hub:OWNER/NAME", a folder, or a file in it; "" is the one of oscine."""
    name = str(model_file_path) or BUNDLED
    path = Path(name)
    if path.is_dir():
        name = LOCAL + name
    elif path.is_file():
        if path.name != WEIGHTS:
            raise OscineError(f"{path} is no {WEIGHTS}; give the folder of a saved encoder, or a name of oscine models")
        name = LOCAL + str(path.parent)
    return HearModel(create_model(name, pretrained=ModelName.parse(name).without_prefix))


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:  # [sound, dim]
    """Return a vector a sound: the encoder's own, averaged over the clips that the sound is cut into.

    audio [sound, samples] at the model's rate, of any length. Each clip counts by its length; one that is shorter than the
    encoder's is filled up as in its training.
    """
    encoder, waveform = model.encoder, _at_encoders_rate(audio, model)
    clips = waveform.split(encoder.samples, dim=1)
    shares = torch.tensor([clip.shape[1] / waveform.shape[1] for clip in clips], device=encoder.device)
    with torch.no_grad(), evaluating(encoder):
        vectors = [
            torch.cat([encoder.features(made, [-1]).pooled for made in _prepared(encoder, clip)]) for clip in clips
        ]
        return torch.einsum("csd,c->sd", torch.stack(vectors).float(), shares)


def get_timestamp_embeddings(
    audio: Tensor, model: HearModel
) -> tuple[Tensor, Tensor]:  # [sound, time, dim], [sound, time]
    """Return vectors of moments, and the moments in milliseconds.

    A vector is the mean over frequency of the last layer's patches at a moment, which is the middle of these patches. They
    are wider than HEAR's spacing, so that the sound is encoded several times, each time begun a little later; what comes out
    is put together in the order of time.
    """
    encoder, waveform = model.encoder, _at_encoders_rate(audio, model)
    patch = encoder.step_seconds
    shifts = math.ceil(patch / SPACING)
    step = patch / shifts
    count = max(1, math.ceil((waveform.shape[1] / encoder.sample_rate - patch / 2) / step))
    vectors = torch.empty(len(waveform), count, encoder.dim, device=encoder.device)
    with torch.no_grad(), evaluating(encoder):
        for shift in range(min(shifts, count)):
            first = round(shift * step * encoder.sample_rate)
            moments = vectors[:, shift::shifts]
            moments[:] = _patch_rows(encoder, waveform[:, first:], moments.shape[1])
    times = 1000 * (patch / 2 + step * torch.arange(count, device=vectors.device))
    return vectors, times.expand(len(vectors), -1)


def hear_rate(sample_rate: int) -> int:
    """Return the rate of HEAR's that loses nothing and is the smallest ratio of the encoder's."""
    higher = [rate for rate in RATES if rate >= sample_rate] or [RATES[-1]]
    return min(higher, key=lambda rate: (rate // math.gcd(rate, sample_rate), rate))


def _patch_rows(encoder: Encoder, waveform: Tensor, count: int) -> Tensor:  # [sound, time, dim]
    """Encode the beginning of a waveform [sound, samples]: so many patches in time, each as its mean over frequency."""
    patch = encoder.step_seconds
    patches = max(1, min(encoder.grid[0], int(encoder.seconds / patch + 1e-6)))  # whole ones in a clip
    rows = []
    for begin in range(0, count, patches):
        start = round(begin * patch * encoder.sample_rate)
        clip = waveform[:, start : start + encoder.samples]
        made = [encoder.features(one, [-1]).patches[0].mean(2) for one in _prepared(encoder, clip)]
        rows.append(torch.cat(made)[:, : min(patches, count - begin)])
    return torch.cat(rows, dim=1)


def _prepared(encoder: Encoder, clips: Tensor) -> Iterator[Tensor]:
    """Prepare clips [sound, samples] for the encoder, some at a time."""
    for some in clips.split(BATCH):
        yield encoder.prepare_clips(list(some))


def _at_encoders_rate(audio: Tensor, model: HearModel) -> Tensor:  # [sound, samples]
    encoder, audio = model.encoder, as_batch(audio)
    if model.sample_rate == encoder.sample_rate:
        return audio.float().to(encoder.device)
    sounds = audio.detach().float().cpu().numpy()
    made = [
        torch.from_numpy(soxr.resample(sound, model.sample_rate, encoder.sample_rate, quality="HQ")) for sound in sounds
    ]
    return torch.stack(made).to(encoder.device)
