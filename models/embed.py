"""A folder of recordings in, a table of embeddings out: one row a clip, and nothing lost on the way."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from oscine import __version__
from oscine.models.audio import AudioError, audio_info
from oscine.models.clock import Clock
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.journal import Journal
from oscine.models.parts import Job, Note, Progress, embed_part, embed_parts, timed
from oscine.models.precision import AUTO, FLOAT32, check_precision
from oscine.models.survey import ALL, Shard, Survey, survey
from oscine.models.table import (
    CSV_BYTES,
    DTYPES,
    Summary,
    as_frame,
    as_table,
    check_target,
    schema_of,
    write_table,
)
from oscine.models.vectors import POOLED, Vectors, evaluating, fingerprint
from oscine.models.windows import Recording, cut, default_workers, read_ahead

logger = logging.getLogger(__name__)


class Forecast(NamedTuple):
    """What `embed_folder` has found and what it will cost, before it goes.

    clips_done: of an earlier call with the same arguments. seconds: of computing that are left, by a timed sample. size:
    bytes of the table; until it is finished, the journal takes about as much again. free: bytes on that disk.
    """

    found: Survey
    clips: int
    clips_done: int
    precision: str
    seconds: float
    size: int
    free: int


class Watcher:
    """Looks on while `embed_folder` works; this one says nothing."""

    def scanned(self, files: int, of_files: int) -> None:
        """So many headers have been read."""

    def forecast(self, forecast: Forecast) -> None:
        """Said once, before the first clip is read."""

    def progress(self, progress: Progress) -> None:
        """Said at the start, and again and again."""


SILENT = Watcher()


def embed_file(
    encoder: Encoder,
    path: str | Path,
    hop: float | None = None,
    batch_size: int = 16,
    layers: Sequence[int] | None = None,
    pools: Sequence[str] = (POOLED,),
    precision: str = FLOAT32,
) -> pd.DataFrame:
    """The embeddings of one recording: a row a clip, indexed by file, start_time, end_time; columns embedding_0 and on.

    Arguments as in `embed_folder`. Of a file that is cut short the readable part is embedded, with a warning in the log;
    AudioError where nothing can be used.
    """
    precision = check_precision(precision)
    recording = Recording(Path(path), str(path), audio_info(path))
    vectors = Vectors(encoder, layers, pools, FLOAT32 if precision == AUTO else precision)
    job = Job(vectors, cut(encoder, hop), _at_least_one(batch_size), None, [recording])
    pieces = list(chain.from_iterable(job.parts()))
    with evaluating(encoder):
        if precision == AUTO:
            job, _ = timed(job, AUTO)
        rows, notes = embed_part(job, pieces, read_ahead(pieces, job.windows, workers=0), {})
    note = notes.get(recording.name, Note(recording.info.truncated, refused=False))
    if note.refused or not rows.clips:
        raise AudioError(path, note.reason)
    if note.reason:
        logger.warning("%s: %s", path, note.reason)
    return as_frame(as_table(rows, schema_of(list(vectors.columns), encoder.dim)))


def embed_folder(
    encoder: Encoder,
    folder: str | Path,
    out: str | Path,
    hop: float | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    layers: Sequence[int] | None = None,
    pools: Sequence[str] = (POOLED,),
    dtype: str = "float32",
    precision: str = FLOAT32,
    compiled: bool = False,
    clock: str | None = None,
    shard: Shard = ALL,
    watcher: Watcher = SILENT,
) -> Summary:
    """Embed every recording below a folder into `out` (.parquet, .npz or .csv); list what is bad in OUT.errors.csv.

    A row is (file, start_time, end_time, vectors): the file's name below the folder, seconds, [dim]; rows are in the order
    of file and time. The last clip of a recording is filled up as in the encoder's training; its end_time is where the
    sound ends. A bad recording is listed and passed over; one that is cut short is embedded as far as it can be read, and
    listed too.

    Neither file is there before it is complete. Until then finished parts lie in OUT.journal: the same call continues after
    a crash and gives the same table; a call that would give another is refused. overwrite: start anew, replace `out`.

    hop: seconds from one clip's start to the next one's, a clip's length by default. batch_size: 16 on a CPU, else 64.
    workers: processes that read, by default what the machine has to spare. layers, pools, compiled: as `Vectors` has them.
    dtype: float32 or float16, of the table. precision: of the encoder, float32, bfloat16 or auto, which is the faster one
    for a long job, and float32 for a shard, so that all of them agree. clock: adds the column `recorded`, as `Clock` has
    it. shard: only this job's share of the folder; `merge_tables` joins them.
    """
    target = check_target(out)
    if dtype not in DTYPES:
        raise OscineError(f"no dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    if check_precision(precision) == AUTO and shard != ALL:
        precision = FLOAT32
    workers = default_workers(encoder.device) if workers is None else workers
    if workers < 0:
        raise OscineError(f"workers is {workers}, expected 0 (read in the main process) or more")
    if batch_size is None:
        batch_size = 16 if encoder.device.type == "cpu" else 64
    vectors = Vectors(encoder, layers, pools, FLOAT32, compiled)
    job = Job(vectors, cut(encoder, hop), _at_least_one(batch_size), Clock(clock) if clock else None, [])

    with Journal(target) as journal, evaluating(encoder):
        journal.check_free(overwrite)
        begun = None if overwrite else journal.plan()
        found = survey(folder, shard, watcher.scanned)
        if begun and precision == AUTO:
            precision = begun["settings"]["precision"]
        job, seconds = timed(job._replace(recordings=found.recordings), precision)
        made_by = describe(job, dtype) | {"shard": str(shard)}
        plan = made_by | {"batch_size": batch_size, "device": encoder.device.type}
        stamps = {recording.name: recording.stamp for recording in found.recordings}
        if made := journal.open(plan, stamps, overwrite):
            return made
        watcher.forecast(foretell(job, found, journal, seconds, dtype))
        schema = schema_of(list(job.vectors.columns), encoder.dim, dtype, clock, made_by | {"folder": found.folder})
        for rows, notes in embed_parts(job, journal.parts, journal.notes, workers, watcher.progress):
            journal.add(as_table(rows, schema), notes)
        listed = found.listed | {name: note.reason for name, note in journal.notes.items()}
        summary = write_table(target, journal.folder, schema, journal.rows, listed)
        journal.finish(summary)
    return summary


def describe(job: Job, dtype: str) -> dict[str, Any]:
    """What makes a table, as it stands in its metadata under the key "oscine", in JSON.

    weights: their file's sha256, "random", or None where neither is known; fingerprint: a hash of the weights as they are in
    memory; columns: the pool and the layer, counted from 0, of each.
    """
    encoder, vectors = job.vectors.encoder, job.vectors
    known = encoder.provenance or {}
    return {
        "version": __version__,
        "torch": torch.__version__,
        "model": known.get("model"),
        "repository": known.get("repository"),
        "revision": known.get("revision"),
        "weights": known.get("sha256"),
        "fingerprint": fingerprint(encoder),
        "architecture": type(encoder).__name__,
        "frontend": type(encoder.frontend).__name__,
        "config": encoder.config,
        "dim": encoder.dim,
        "sample_rate": encoder.sample_rate,
        "clip_seconds": encoder.seconds,
        "hop_seconds": job.windows.hop / encoder.sample_rate,
        "columns": {name: {"pool": pool, "layer": layer} for name, (pool, layer) in vectors.columns.items()},
        "dtype": dtype,
        "precision": vectors.precision,
        "compiled": vectors.compiled,
        "clock": job.clock.name if job.clock else None,
    }


def foretell(job: Job, found: Survey, journal: Journal, clip_seconds: float, dtype: str) -> Forecast:
    """What is to come; an error where the disk has no room for it."""
    clips, done = job.clips, job.progress(journal.parts).clips
    numbers = clips * len(job.vectors.columns) * job.vectors.encoder.dim
    number_bytes = DTYPES[dtype].bit_width // 8
    size = numbers * (CSV_BYTES if journal.target.suffix == ".csv" else number_bytes)
    need = size + numbers * number_bytes * (clips - done) // max(1, clips)
    free = shutil.disk_usage(journal.folder).free
    if need > free:
        raise OscineError(
            f"{journal.target} and its journal need {need / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB; make room, "
            "choose another place, --dtype float16, a longer hop, or fewer layers and pools"
        )
    return Forecast(found, clips, done, job.vectors.precision, clip_seconds * (clips - done), size, free)


def _at_least_one(batch_size: int) -> int:
    if batch_size < 1:
        raise OscineError(f"batch_size is {batch_size}, expected at least 1")
    return batch_size
