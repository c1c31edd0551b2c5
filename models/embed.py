"""A folder of recordings in, a table of embeddings out: one row a clip, and nothing lost on the way."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from oscine import __version__
from oscine.models.audio import AudioError, audio_info, split_clips
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.recordings import scan_folder
from oscine.models.table import Table, check_target, errors_path
from oscine.models.windows import Piece, Read, Recording, Windows, pieces_of, read_ahead, total_samples

logger = logging.getLogger(__name__)


class Embedded(NamedTuple):
    """All rows of one recording. `reason`: why it stands in the error table, or ""; a refused recording has no rows."""

    recording: Recording
    start_times: list[float]
    end_times: list[float]
    embeddings: Tensor  # [clips, dim]
    reason: str


@dataclass
class Tally:
    """A recording under way. `closed`: no more clips will come; `refused`: it must not be used at all."""

    recording: Recording
    reason: str
    samples: int = 0
    clips: int = 0
    closed: bool = False
    refused: bool = False
    embeddings: list[Tensor] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.refused or (self.closed and len(self.embeddings) == self.clips)

    def embedded(self, windows: Windows) -> Embedded:
        rows = [] if self.refused else self.embeddings
        times = [windows.times(clip, self.samples) for clip in range(len(rows))]
        return Embedded(
            self.recording,
            [start for start, _ in times],
            [end for _, end in times],
            torch.stack(rows) if rows else torch.empty(0, 0),
            self.reason,
        )


class Progress(NamedTuple):
    """How far `embed_folder` has come: recordings done of all, seconds of sound done of all."""

    files: int
    of_files: int
    seconds: float
    of_seconds: float


class Summary(NamedTuple):
    """What `embed_folder` has written: rows of so many recordings and seconds, and the files listed with a reason."""

    rows: int
    files: int
    seconds: float
    listed: dict[str, str]
    out: Path
    errors: Path


def embed_file(encoder: Encoder, path: str | Path, hop: float | None = None, batch_size: int = 16) -> pd.DataFrame:
    """The embeddings of one recording: a row a clip, indexed by file, start_time, end_time, and `dim` columns.

    hop: seconds from one clip's start to the next one's, a clip's length by default. Of a file that is cut short the
    readable part is embedded, with a warning in the log; AudioError where nothing can be used.
    """
    recording = Recording(Path(path), str(path), audio_info(path))
    [embedded] = embed_recordings(encoder, [recording], hop, batch_size, workers=0)
    if not embedded.start_times:
        raise AudioError(path, embedded.reason)
    if embedded.reason:
        logger.warning("%s: %s", path, embedded.reason)
    index = pd.MultiIndex.from_arrays(
        [[str(path)] * len(embedded.start_times), embedded.start_times, embedded.end_times],
        names=["file", "start_time", "end_time"],
    )
    return pd.DataFrame(embedded.embeddings.numpy(), index=index)


def embed_folder(
    encoder: Encoder,
    folder: str | Path,
    out: str | Path,
    hop: float | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    overwrite: bool = False,
    model: str | None = None,
    weights: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Embed every recording below a folder into `out`, a Parquet file; list what is bad beside it, in OUT.errors.csv.

    A row is (file, start_time, end_time, embedding): the file's name below the folder, seconds, float32 [dim]; rows are
    in the order of file and time. Neither file is there before it is complete. A bad recording is listed and passed
    over; one that is cut short is embedded as far as it can be read, and listed too.
    hop: seconds from one clip's start to the next one's, a clip's length by default. workers: processes that read, by
    default one or two. model, weights: name and hash of the encoder, for the table's metadata, where `describe` puts them.
    """
    target = check_target(out, overwrite)
    metadata = describe(encoder, hop, model, weights)
    recordings, listed = survey(folder)
    rows, files, seconds = 0, 0, 0.0
    with Table(target, encoder.dim, metadata) as table:
        for embedded in embed_recordings(encoder, recordings, hop, batch_size, workers, progress):
            if embedded.reason:
                listed[embedded.recording.name] = embedded.reason
            if embedded.start_times:
                table.write(embedded.recording.name, embedded.start_times, embedded.end_times, embedded.embeddings)
                rows, files, seconds = rows + len(embedded.start_times), files + 1, seconds + embedded.end_times[-1]
        table.finish(listed)
    return Summary(rows, files, seconds, dict(sorted(listed.items())), target, errors_path(target))


def survey(folder: str | Path) -> tuple[list[Recording], dict[str, str]]:
    """The recordings below a folder by their headers, and what cannot be used: its name and why."""
    folder = Path(folder)
    found = scan_folder(folder)
    recordings, listed = [], {_name(path, folder): reason for path, reason in found.refused.items()}
    for path in found.recordings:
        try:
            recordings.append(Recording(path, _name(path, folder), audio_info(path)))
        except AudioError as error:
            listed[_name(path, folder)] = error.reason
    hours = sum(recording.info.seconds for recording in recordings) / 3600
    logger.info("%s: %d recordings, %.2f hours; %d entries unusable", folder, len(recordings), hours, len(listed))
    return recordings, listed


def embed_recordings(
    encoder: Encoder,
    recordings: list[Recording],
    hop: float | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Embedded]:
    """Embed recordings in the order given; each is handed on when its last clip is done.

    They are read in pieces, ahead of the encoder, and batches are filled across recordings. A clip's values depend on
    neither batch size nor workers, apart from rounding.
    """
    if batch_size < 1:
        raise OscineError(f"batch_size is {batch_size}, expected at least 1")
    windows = cut(encoder, hop)
    under_way: deque[Tally] = deque()  # in the order of the recordings
    clips = _clips(recordings, windows, workers, under_way)
    of_seconds = sum(recording.info.seconds for recording in recordings)
    files, seconds = 0, 0.0
    progress(Progress(0, len(recordings), 0.0, of_seconds))
    while True:
        batch = list(islice(clips, batch_size))
        if batch:
            for (tally, _), embedding in zip(batch, _pooled(encoder, torch.stack([clip for _, clip in batch]))):
                tally.embeddings.append(embedding)
        while under_way and under_way[0].done:
            tally = under_way.popleft()
            files, seconds = files + 1, seconds + tally.recording.info.seconds
            yield tally.embedded(windows)
        part = sum(len(tally.embeddings) for tally in under_way) * windows.hop / windows.sample_rate
        progress(Progress(files, len(recordings), min(seconds + part, of_seconds), of_seconds))
        if not batch:
            return


def cut(encoder: Encoder, hop: float | None = None) -> Windows:
    """The encoder's clips, every `hop` seconds; None is a clip's length."""
    samples = encoder.samples if hop is None else round(hop * encoder.sample_rate)
    if samples < 1:
        raise OscineError(f"hop is {hop} s, expected more than 0; leave it out for the clip's {encoder.seconds:g} s")
    return Windows(encoder.sample_rate, encoder.samples, samples)


def describe(
    encoder: Encoder, hop: float | None = None, model: str | None = None, weights: str | None = None
) -> dict[str, Any]:
    """What made a table, as it stands in the Parquet schema's metadata under the key "oscine", in JSON.

    weights: their file's sha256, "random", or None where neither is known.
    """
    windows = cut(encoder, hop)
    return {
        "version": __version__,
        "model": model,
        "weights": weights,
        "architecture": type(encoder).__name__,
        "config": encoder.config,
        "dim": encoder.dim,
        "sample_rate": encoder.sample_rate,
        "clip_seconds": encoder.seconds,
        "hop_seconds": windows.hop / windows.sample_rate,
    }


def _clips(
    recordings: list[Recording], windows: Windows, workers: int | None, under_way: deque[Tally]
) -> Iterator[tuple[Tally, Tensor]]:
    """Every clip [samples] with the tally of its recording, which joins `under_way` before its first clip."""
    pieces = list(pieces_of(recordings, windows))
    for piece, read in zip(pieces, read_ahead(pieces, windows, workers)):
        if piece.first == 0:
            tally = Tally(piece.recording, piece.recording.info.truncated, total_samples(piece.recording, windows))
            under_way.append(tally)
        if tally.closed:  # refused or cut short in an earlier piece: what may follow is not used
            continue
        clips = _take(tally, piece, read, windows)
        tally.clips += len(clips)
        for clip in clips:
            yield tally, clip


def _take(tally: Tally, piece: Piece, read: Read, windows: Windows) -> Tensor | list[Tensor]:
    """A piece's clips [clips, samples], as far as it could be read; its tally takes note of what was found."""
    tally.reason = read.refused or read.truncated or tally.reason
    tally.refused = bool(read.refused)
    wanted = piece.clips
    if read.truncated:
        tally.samples = piece.first * windows.hop + len(read.waveform)
        wanted = min(wanted, windows.clips(tally.samples) - piece.first)
    whole = piece.first + piece.clips == windows.clips(total_samples(piece.recording, windows))
    tally.closed = whole or bool(read.refused or read.truncated)
    if read.refused or not len(read.waveform):
        return []
    return split_clips(torch.from_numpy(read.waveform), windows.samples, windows.hop)[:wanted]


def _name(path: Path, folder: Path) -> str:
    # Bytes that are no UTF-8 become "\\xe4": neither Parquet nor CSV could hold them.
    return os.fsencode(path.relative_to(folder).as_posix()).decode(errors="backslashreplace")


@torch.inference_mode()
def _pooled(encoder: Encoder, clips: Tensor) -> Tensor:  # [clips, dim]
    """Embeddings in eval mode; the encoder is handed back in the mode it was in."""
    training = encoder.training
    try:
        pooled = encoder.eval()(clips.to(encoder.device), layers=[-1]).pooled
        return pooled.to("cpu", torch.float32, copy=True)  # a view would keep the tokens of the batch in memory
    finally:
        encoder.train(training)
