"""Encode the rows of a task batch by batch, rounded as a store holds them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from torch import Tensor

from oscine import __version__
from oscine.models.audio.load import HEADERS
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.eval_mode import evaluating
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.encoders.base.precision import FLOAT32, computing
from oscine.models.errors import OscineError
from oscine.models.files import Stamp, file_stamp
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import LabelledClips, Task, read_batches, warn_of_longer

LAYOUT = 1  # of what is kept; what was kept in another one is encoded anew
DTYPES = {"float16": torch.float16, "float32": torch.float32}
Shapes = dict[str, tuple[int, ...]]  # of one row, by the field of `Features`: [layer, ...]; pooled has no layers


class Encoding:
    """The features of a task's rows, encoded anew whenever they are taken, and rounded as a store holds them.

    A row has the same bits whichever rows it is taken with: it is always encoded with the same neighbours of the task, since
    sums in another batch, or at another place in it, are rounded in other ways.

    encoder: in eval mode meanwhile, in float32. needs: what is kept. seconds: length of a clip, if not the encoder's.
    batch_size: rows that are encoded together, which a GPU is faster with; for one of them that is taken, all are encoded.
    dtype: float16 or float32, of what is kept.
    """

    def __init__(
        self,
        encoder: Encoder,
        task: Task,
        needs: Needs,
        seconds: float | None = None,
        batch_size: int = 1,
        dtype: str = "float16",
    ) -> None:
        if dtype not in DTYPES:
            raise OscineError(f"no dtype {dtype!r}; choose from {', '.join(DTYPES)}")
        if batch_size < 1:
            raise OscineError(f"a batch of {batch_size} clips; the encoder needs at least 1")
        self.encoder, self.needs, self.batch_size, self.dtype = encoder, needs, batch_size, dtype
        self.clips = LabelledClips(task.rows, encoder.sample_rate, seconds or encoder.seconds)
        warn_of_longer(task.rows, seconds or encoder.seconds)
        self.shapes = shapes_of(encoder, needs, seconds)
        numbers = sum(math.prod(shape) for shape in self.shapes.values())
        self.nbytes = len(self.clips) * numbers * DTYPES[dtype].itemsize  # of a store that holds all rows

    def take(self, rows: Tensor, /) -> Features:
        """Return the features of rows by number, in float32, on the CPU."""
        numbers, places = np.divmod(rows.numpy(), self.batch_size)  # of batches, and in them
        taken = room_for(len(rows), self.shapes)
        for number in np.unique(numbers):
            first, here = number * self.batch_size, np.flatnonzero(numbers == number)
            batch = range(first, min(first + self.batch_size, len(self.clips)))
            arrays = self.arrays([self.clips[row] for row in batch])
            for name, clips in by_clip(taken).items():
                clips[here] = torch.from_numpy(arrays[name][places[here]]).float()
        return taken

    @torch.inference_mode()
    def arrays(self, clips: Sequence[Tensor]) -> dict[str, np.ndarray]:
        """Encode what is kept of a batch of clips, [samples] each: by the field of `Features`, [clip, layer, ...]."""
        encoder = self.encoder
        with evaluating(encoder), computing(FLOAT32, encoder.device):
            features = encoder.features(encoder.prepare_clips(clips, self.clips.samples), self.needs.layers)
        kept = self.needs.take(features.to(torch.float32))
        return {name: self.rounded(clips) for name, clips in by_clip(kept).items()}

    def rounded(self, tensor: Tensor) -> np.ndarray:
        made = tensor.to(DTYPES[self.dtype])
        if not tensor.isfinite().all():
            raise OscineError(f"features of {self.encoder.called} are not finite; {self.encoder.not_finite}")
        if not made.isfinite().all():
            raise OscineError(f"features reach {tensor.abs().max():.0f}, beyond float16; take dtype float32")
        return made.contiguous().cpu().numpy()

    def origin(self) -> dict[str, Any]:
        """List what could change a number, in JSON; a recording counts as the same with its path, size, time and ends."""
        encoder, clips = self.encoder, self.clips
        columns = [clips.paths, stamps_of(clips.paths), clips.starts, clips.seconds]
        rows = list(zip(*columns, *([clips.channels] if clips.channels else [])))
        return {
            "layout": LAYOUT,
            "version": __version__,
            "torch": torch.__version__,
            "fingerprint": fingerprint(encoder),
            "architecture": type(encoder).__name__,
            "frontend": encoder.frontend_name,
            "config": json.loads(json.dumps(encoder.config)),  # as it will be read again
            "device": encoder.device.type,
            "precision": FLOAT32,
            "matmul": torch.get_float32_matmul_precision(),
            "batch_size": self.batch_size,
            "samples": clips.samples,
            "dtype": self.dtype,
            "rows": len(clips),
            "rows_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        }

    def kept(self) -> dict[str, list[int]]:
        """Return layers and shapes, in JSON."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"layers": self.encoder.layer_numbers(self.needs.layers), **shapes}


def encode_task(
    encoder: Encoder,
    task: Task,
    needs: Needs,
    seconds: float | None = None,
    batch_size: int = 16,
    workers: int = 0,
    progress: ShowProgress = show_nothing,
) -> Features:
    """Encode every row of a task, in the table's order, in float32 on the CPU; only what `needs` names is kept.

    Arguments as for `Encoding`; workers: processes that read recordings.
    """
    encoding = Encoding(encoder, task, needs, seconds, batch_size, "float32")
    return _gather(encoding, read_batches(encoding.clips, batch_size, workers), len(encoding.clips), progress)


def encode_waveforms(
    encoder: Encoder, waveforms: Sequence[Tensor], needs: Needs, seconds: float | None = None, batch_size: int = 16
) -> Features:
    """Encode waveforms at the encoder's rate, [samples] of a clip at most, as `encode_task` encodes rows."""
    none = Task(pd.DataFrame({"path": []}), [], torch.empty(0, 0), [])
    encoding = Encoding(encoder, none, needs, seconds, batch_size, "float32")
    batches = (waveforms[first : first + batch_size] for first in range(0, len(waveforms), batch_size))
    return _gather(encoding, batches, len(waveforms))


def _gather(
    encoding: Encoding,
    batches: Iterable[Sequence[Tensor]],
    total: int,
    progress: ShowProgress = show_nothing,
) -> Features:
    made, done = room_for(total, encoding.shapes), 0
    for batch in batches:
        arrays = encoding.arrays(batch)
        for name, clips in by_clip(made).items():
            clips[done : done + len(batch)] = torch.from_numpy(arrays[name])
        done += len(batch)
        progress(done, total)
    return made


def room_for(clips: int, shapes: Shapes) -> Features:
    """Allocate features of so many clips, to be filled in: in float32, on the CPU."""

    def room(*shape: int) -> Tensor:
        return torch.from_numpy(np.empty(shape, np.float32))  # in huge pages, unlike torch's: half the time to fill

    (cls_layers, *cls), (layers, *patches), pooled = shapes["cls"], shapes["patches"], shapes["pooled"]
    return Features(room(cls_layers, clips, *cls), room(layers, clips, *patches), room(clips, *pooled))


def by_clip(features: Features) -> dict[str, Tensor]:
    """View all fields with the clips before the layers, [clip, layer, ...]."""
    cls, patches = (rearrange(field, "layer clip ... -> clip layer ...") for field in (features.cls, features.patches))
    return {"cls": cls, "patches": patches, "pooled": features.pooled}


def shapes_of(encoder: Encoder, needs: Needs, seconds: float | None = None) -> Shapes:
    """Return the shapes of what `needs` takes of a clip."""
    check_layers_of(encoder, needs)
    layers, samples = (
        len(encoder.layer_numbers(needs.layers)),
        round((seconds or encoder.seconds) * encoder.sample_rate),
    )
    time, freq = encoder.steps(samples), encoder.grid[1]
    with torch.device("meta"):  # shapes without numbers
        one = Features(
            cls=torch.empty(layers, 1, encoder.dim),
            patches=torch.empty(layers, 1, time, freq, encoder.dim),
            pooled=torch.empty(1, encoder.dim),
        )
    kept = needs.take(one)
    return {"cls": kept.cls[:, 0].shape, "patches": kept.patches[:, 0].shape, "pooled": kept.pooled[0].shape}


def check_layers_of(encoder: Encoder, needs: Needs) -> None:
    """Raise where layers are to be kept side by side that differ in width."""
    if needs.layers is None and not encoder.stacked:
        raise OscineError(
            f"features of all layers were asked for, those of {type(encoder).__name__} differ in width; ask for its last "
            "layer, as LinearProbe does"
        )


def stamps_of(paths: Iterable[str]) -> list[Stamp]:
    """Return the stamp of every recording, or of the tar file that it is in; each file is read once."""
    folders = {folder for folder in {os.path.dirname(path) for path in paths} if os.path.isfile(folder)}
    files = [folder if (folder := os.path.dirname(path)) in folders else path for path in paths]
    different = list(dict.fromkeys(files))
    try:
        with ThreadPoolExecutor(HEADERS) as threads:
            found = dict(zip(different, threads.map(file_stamp, different)))
    except OSError as error:
        raise OscineError(
            f"{error.filename} could not be opened ({error.strerror}); check the disk or the path"
        ) from None
    return [found[file] for file in files]
