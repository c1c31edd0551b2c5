"""Predict recordings by a fitted probe: a row a clip or a frame, a column a class, as `embed_recordings` does."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from oscine.models.audio.channels import MIX, Channel
from oscine.models.audio.shard import ALL, Shard
from oscine.models.embed.embed import embed_file, embed_to_table
from oscine.models.embed.extractor import Extractor
from oscine.models.embed.progress import SILENT, Watcher
from oscine.models.embed.settings import SHORTEST_CLIP, EmbedSettings
from oscine.models.embed.table import Summary
from oscine.models.encoders.base.precision import FLOAT32
from oscine.models.errors import OscineError
from oscine.models.recordings.inputs import Recordings
from oscine.probe.deploy.arguments import check_class_columns
from oscine.probe.deploy.fitted_probe import FittedProbe


class Probabilities(Extractor):
    """Clips to the probability of every class, [clip, classes]; of a frame-wise probe, [clip, time, classes].

    precision: of the encoder, as in `Extractor`; the probe computes in float32.
    """

    def __init__(self, fitted: FittedProbe, precision: str = FLOAT32) -> None:
        check_class_columns(fitted.classes)
        super().__init__(fitted.encoder, dict.fromkeys(fitted.classes), fitted.samples, precision)
        self.fitted = fitted
        self.frames = fitted.encoder.steps(fitted.samples)

    def compute(self, prepared: Tensor) -> Tensor:
        return self.fitted.probabilities(prepared)

    def describe(self) -> dict[str, Any]:
        return self.fitted.describe()

    def times(self, start: float, end: float) -> list[tuple[float, float]]:
        step = self.fitted.frame_seconds
        if step is None:
            return [(start, end)]
        # Less than a frame may be left behind the last one, which then reaches to the clip's end.
        count = min(self.frames, max(1, math.ceil((end - start) / step - 1e-6)))
        edges = [*(start + number * step for number in range(count)), end]
        return list(pairwise(edges))


def predict_file(
    fitted: FittedProbe,
    path: str | Path,
    hop: float | None = None,
    batch_size: int | None = None,
    *,
    channel: Channel = MIX,
    shortest: float = SHORTEST_CLIP,
) -> pd.DataFrame:
    """Predict one recording: a column a class, indexed by file, start_time, end_time; as `embed_file` reads it."""
    check_order(fitted, path, "predict_file(fitted, path)")
    check_hop(fitted, hop)
    return embed_file(Probabilities(fitted), path, hop, batch_size, channel=channel, shortest=shortest)


def predict_recordings(
    fitted: FittedProbe,
    recordings: Recordings,
    out: str | Path,
    hop: float | None = None,
    precision: str = FLOAT32,
    clock: str | None = None,
    shard: Shard = ALL,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    watcher: Watcher = SILENT,
    *,
    channel: Channel = MIX,
    shortest: float = SHORTEST_CLIP,
) -> Summary:
    """Write what a probe says of recordings into the table `out` (.parquet, .csv or .npz).

    A row is (file, start_time, end_time, a probability for every class): of a clip, or of a frame of a frame-wise probe.
    All else is as in `embed_recordings`: a folder, a file or a list, the journal, the error list OUT.errors.csv, the
    arguments.
    """
    check_order(fitted, recordings, "predict_recordings(fitted, recordings, out)")
    check_hop(fitted, hop)
    settings = EmbedSettings(
        hop=hop, dtype=FLOAT32, clock=clock, channel=channel, shortest=shortest, shard=shard, overwrite=overwrite,
        batch_size=batch_size, workers=workers,
    )  # fmt: skip
    return embed_to_table(Probabilities(fitted, precision), recordings, out, settings=settings, watcher=watcher)


predict_folder = predict_recordings  # its name while a folder was all that it took


def check_order(fitted: object, recordings: object, call: str) -> None:
    """Raise an error where the fitted probe is not the first argument."""
    if not isinstance(fitted, FittedProbe):
        advice = "" if isinstance(recordings, FittedProbe) else ", with the probe that load_probe returns"
        raise OscineError(f"the first argument is {str(fitted)[:80]!r}, expected a fitted probe; call {call}{advice}")


def check_hop(fitted: FittedProbe, hop: float | None) -> None:
    """Raise where clips overlap of a frame-wise probe: a frame in several clips would have several rows."""
    if hop is not None and fitted.frame_seconds is not None:
        raise OscineError(f"hop is {hop} s, but this probe answers for every frame; leave hop out")
