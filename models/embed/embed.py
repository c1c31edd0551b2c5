"""Embed recordings: one row a clip of a table, and nothing lost on the way."""

from __future__ import annotations

import logging
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from oscine import __version__
from oscine.models.audio.channels import EACH, MIX, Channel
from oscine.models.audio.load import AudioError, audio_info
from oscine.models.audio.shard import ALL, Shard
from oscine.models.audio.workers import default_workers
from oscine.models.embed.clips import make_layout, read_chunks
from oscine.models.embed.estimate import estimate, measure_cost
from oscine.models.embed.extractor import EmbeddingExtractor, Extractor
from oscine.models.embed.job import PARTS, Job, embed_part, embed_parts
from oscine.models.embed.journal import Journal
from oscine.models.embed.progress import SILENT, Watcher
from oscine.models.embed.settings import SHORTEST_CLIP, EmbedSettings
from oscine.models.embed.table import FileError, Summary, as_frame, as_table, check_target, schema_of, write_table
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.eval_mode import evaluating
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.errors import OscineError
from oscine.models.recordings.headers import HeaderScan, Recording, parts_of_file, scan_headers
from oscine.models.recordings.inputs import WHOLE, Recordings

logger = logging.getLogger(__name__)


def embed_file(
    encoder: Encoder | Extractor,
    path: str | Path,
    hop: float | None = None,
    batch_size: int | None = None,
    *,
    channel: Channel = MIX,
    shortest: float = SHORTEST_CLIP,
) -> pd.DataFrame:
    """Embed one recording: a row a clip, indexed by file, start_time, end_time; columns embedding_0 and on.

    Arguments as in `embed_recordings`; with channel "each", the index has the channel, too. Of a file that is cut short the
    readable part is embedded, with a warning in the log; AudioError where nothing can be used.
    """
    check_order(encoder, path, "embed_file(encoder, path)")
    job = make_job(encoder, EmbedSettings(hop=hop, batch_size=batch_size, channel=channel, shortest=shortest))
    recordings, missing = parts_of_file(
        Recording(Path(path), str(path), audio_info(path)), [WHOLE], job.settings.channel
    )
    if missing:
        raise AudioError(path, missing)
    job = job._replace(recordings=recordings)
    chunks = list(chain.from_iterable(job.parts()))
    with evaluating(job.extractor.encoder):
        rows, errors = embed_part(job, zip(chunks, read_chunks(chunks, job.layout, workers=0)), {})
    error = errors.get(str(path), FileError(recordings[0].info.note, refused=False))
    if error.refused or not rows.keys:
        raise AudioError(path, error.reason)
    if error.reason:
        logger.warning("%s: %s", path, error.reason)
    return as_frame(as_table(rows, schema_of(job.extractor.widths, channels=job.settings.channel == EACH)))


def embed_recordings(
    encoder: Encoder | Extractor,
    recordings: Recordings,
    out: str | Path,
    hop: float | None = None,
    dtype: str = "float32",
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
    """Embed recordings into the table `out` (.parquet, .npz or .csv); list what is bad, if anything is, in OUT.errors.csv.

    recordings: a folder, searched with those below it; one file; a list in a file (CSV, TSV, Parquet with a column path, and
    optional start and end in seconds; or a text with a path a line); or a list of paths in Python.

    A row is (file, start_time, end_time, vectors): the recording's name, seconds, [dim]; rows are in the order of file and
    time. The name is that below the folder; of one file its own; of a list the path as the list has it, where it is
    relative to the list's folder. The last clip of a recording is filled up as in the encoder's training; its end_time is
    where the sound ends. A bad recording is listed and passed over; one that is cut short is embedded as far as it can be
    read, and listed too.

    Neither file is there before it is complete. Until then finished parts lie in OUT.journal: the same call continues after
    a crash and gives the same table; a call that would give another is refused. overwrite: start anew, replace `out`.

    encoder: gives its `pooled` in float32; `EmbeddingExtractor(encoder, ...)` has other layers, pools and precisions, and
    other extractors, such as a probe's, other numbers. hop: seconds from one clip's start to the next one's, a clip's length
    by default. dtype: float32 or float16, of the table. clock: adds the column `recorded`, as `Clock` has it. shard: only
    this job's share of the recordings; `merge_tables` joins those that were made in one precision.
    batch_size: 16 on a CPU, else 64. workers: processes that read, by default what the machine has to spare. channel: "mix"
    (the mean of all), "left", "right", a number from 1, or "each": a row a channel, with its number in the column `channel`.
    shortest: the share of a clip that the last one of a recording must have to be a row, unless it is the only one.
    """
    check_order(encoder, recordings, "embed_recordings(encoder, recordings, out)")
    settings = EmbedSettings(
        hop=hop, dtype=dtype, clock=clock, channel=channel, shortest=shortest, shard=shard, overwrite=overwrite,
        batch_size=batch_size, workers=workers,
    )  # fmt: skip
    return embed_to_table(encoder, recordings, out, settings=settings, watcher=watcher)


def embed_to_table(
    encoder: Encoder | Extractor,
    recordings: Recordings,
    out: str | Path,
    *,
    settings: EmbedSettings,
    watcher: Watcher = SILENT,
) -> Summary:
    """Embed recordings as `embed_recordings` does, with its arguments as settings."""
    target, job = check_target(out, recordings), make_job(encoder, settings)
    extractor, encoder = job.extractor, job.extractor.encoder
    workers = default_workers(encoder.device) if settings.workers is None else settings.workers

    with closing(Journal(target)) as journal, evaluating(encoder):
        journal.check_free(settings.overwrite)
        found = scan_headers(recordings, settings.shard, progress=watcher.scanned, channel=settings.channel)
        job = job._replace(recordings=found.recordings)
        cost = measure_cost(job)  # now: an encoder that cannot compute leaves no journal
        made_by = describe(job) | {"shard": str(settings.shard)}
        plan = made_by | {"batch_size": job.batch_size, "device": encoder.device.type, "parts": PARTS}
        metadata, each = made_by | {"folder": found.folder}, settings.channel == EACH
        schema = schema_of(extractor.widths, settings.dtype, settings.clock, metadata=metadata, channels=each)
        if made := journal.open(plan, stamps(found), overwrite=settings.overwrite, schema=schema):
            return made
        watcher.forecast(estimate(job, found, journal, cost=cost, workers=workers))
        for rows, errors in embed_parts(
            job, journal.parts, journal.errors, workers=workers, on_progress=watcher.progress
        ):
            journal.add(as_table(rows, schema), errors)
        listed = found.listed | {name: error.reason for name, error in journal.errors.items()}
        summary = write_table(target, journal.folder, schema, source=journal.rows, listed=listed)
        journal.finish(summary)
    return summary


embed_folder = embed_recordings  # its name while a folder was all that it took


def check_order(encoder: object, recordings: object, call: str) -> None:
    """Raise an error where the encoder is not the first argument."""
    if not isinstance(encoder, (Encoder, Extractor)):
        advice = "" if isinstance(recordings, (Encoder, Extractor)) else ", with the encoder that create_model returns"
        raise OscineError(f"the first argument is {str(encoder)[:80]!r}, expected an encoder; call {call}{advice}")


def stamps(found: HeaderScan) -> dict[str, list[Any]]:
    """Return what tells that a recording is as it was: its file's size and time, and the stretches that are read."""
    made: dict[str, list[Any]] = {}
    for recording in found.recordings:
        stamp = made.setdefault(recording.name, [*recording.stamp])
        if (recording.start, recording.end) != WHOLE:
            stamp += [recording.start, recording.end]
    return made


def make_job(encoder: Encoder | Extractor, settings: EmbedSettings) -> Job:
    """Make the job that a call asks for, of no recordings yet."""
    extractor = encoder if isinstance(encoder, Extractor) else EmbeddingExtractor(encoder)
    batch_size = settings.batch_size or (16 if extractor.encoder.device.type == "cpu" else 64)
    layout = make_layout(extractor.encoder, settings.hop, extractor.samples, settings.shortest)
    return Job(extractor, layout, settings, batch_size, [])


def describe(job: Job) -> dict[str, Any]:
    """Describe what makes a table, as it stands in its metadata under the key "oscine"; and what its extractor says."""
    encoder, extractor, settings = job.extractor.encoder, job.extractor, job.settings
    return {
        "version": __version__,
        "torch": torch.__version__,
        **describe_encoder(encoder),
        "dim": encoder.dim,
        "sample_rate": encoder.sample_rate,
        "clip_seconds": job.layout.samples / encoder.sample_rate,
        "hop_seconds": job.layout.hop / encoder.sample_rate,
        **extractor.describe(),
        "dtype": settings.dtype,
        "precision": extractor.precision,
        "compiled": extractor.compiled,
        "clock": settings.clock or None,
        "channel": settings.channel,
        "shortest": settings.shortest,
    }


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Describe an encoder, for JSON.

    weights: their file's sha256, "random", or None where neither is known; fingerprint: a hash of the weights as they are in
    memory.
    """
    known = encoder.provenance or {}
    return {
        "model": known.get("model"),
        "repository": known.get("repository"),
        "revision": known.get("revision"),
        "weights": known.get("sha256"),
        "fingerprint": fingerprint(encoder),
        "architecture": type(encoder).__name__,
        "frontend": encoder.frontend_name,
        "config": encoder.config,
    }
