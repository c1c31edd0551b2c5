"""Recordings in, a table of embeddings out: one row a clip, and nothing lost on the way."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from oscine import __version__
from oscine.models.audio.channels import EACH, MIX, Channel, parse_channel
from oscine.models.audio.load import AudioError, audio_info
from oscine.models.audio.workers import default_workers
from oscine.models.embed.arguments import SHORTEST_CLIP, check_arguments
from oscine.models.embed.clips import Recording, cut, read_ahead
from oscine.models.embed.estimate import foretell, measure_cost
from oscine.models.embed.job import PARTS, Job, embed_part, embed_parts
from oscine.models.embed.journal import Journal
from oscine.models.embed.outputs import Outputs
from oscine.models.embed.progress import SILENT, Watcher
from oscine.models.embed.table import Note, Summary, as_frame, as_table, check_target, schema_of, write_table
from oscine.models.embed.vectors import Vectors
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.state import evaluating, fingerprint
from oscine.models.errors import OscineError
from oscine.models.recordings.folder import ALL, Shard, Survey, parts_of_file, survey
from oscine.models.recordings.inputs import WHOLE, Recordings
from oscine.models.recordings.timestamps import Clock

logger = logging.getLogger(__name__)


def embed_file(
    encoder: Encoder | Outputs,
    path: str | Path,
    hop: float | None = None,
    batch_size: int | None = None,
    *,
    channel: Channel = MIX,
    shortest: float = SHORTEST_CLIP,
) -> pd.DataFrame:
    """The embeddings of one recording: a row a clip, indexed by file, start_time, end_time; columns embedding_0 and on.

    Arguments as in `embed_recordings`; with channel "each", the index has the channel, too. Of a file that is cut short the
    readable part is embedded, with a warning in the log; AudioError where nothing can be used.
    """
    check_order(encoder, path, "embed_file(encoder, path)")
    channel = parse_channel(channel)
    recordings, missing = parts_of_file(Recording(Path(path), str(path), audio_info(path)), [WHOLE], channel)
    if missing:
        raise AudioError(path, missing)
    job = job_of(encoder, hop, batch_size, shortest=shortest)._replace(recordings=recordings)
    pieces = list(chain.from_iterable(job.parts()))
    with evaluating(job.outputs.encoder):
        rows, notes = embed_part(job, pieces, read_ahead(pieces, job.windows, workers=0), {})
    note = notes.get(str(path), Note(recordings[0].info.note, refused=False))
    if note.refused or not rows.keys:
        raise AudioError(path, note.reason)
    if note.reason:
        logger.warning("%s: %s", path, note.reason)
    return as_frame(as_table(rows, schema_of(job.outputs.widths, channels=channel == EACH)))


def embed_recordings(
    encoder: Encoder | Outputs,
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

    encoder: gives its `pooled` in float32; `Vectors(encoder, ...)` has other layers, pools and precisions, and other
    `Outputs`, such as a probe's, have other numbers. hop: seconds from one clip's start to the next one's, a clip's length
    by default. dtype: float32 or float16, of the table. clock: adds the column `recorded`, as `Clock` has it. shard: only
    this job's share of the recordings; `merge_tables` joins those that were made in one precision.
    batch_size: 16 on a CPU, else 64. workers: processes that read, by default what the machine has to spare. channel: "mix"
    (the mean of all), "left", "right", a number from 1, or "each": a row a channel, with its number in the column `channel`.
    shortest: the share of a clip that the last one of a recording must have to be a row, unless it is the only one.
    """
    check_order(encoder, recordings, "embed_recordings(encoder, recordings, out)")
    target, channel = check_target(out, recordings), parse_channel(channel)
    check_arguments(dtype=dtype, workers=workers)
    job = job_of(encoder, hop, batch_size, clock, shortest)
    encoder = job.outputs.encoder
    workers = default_workers(encoder.device) if workers is None else workers

    with Journal(target) as journal, evaluating(encoder):
        journal.check_free(overwrite)
        found = survey(recordings, shard, watcher.scanned, channel)
        job = job._replace(recordings=found.recordings)
        cost = measure_cost(job)  # now: an encoder that cannot compute leaves no journal
        made_by = describe(job, dtype, channel) | {"shard": str(shard)}
        plan = made_by | {"batch_size": job.batch_size, "device": encoder.device.type, "parts": PARTS}
        metadata = made_by | {"folder": found.folder}
        schema = schema_of(job.outputs.widths, dtype, clock, metadata, channels=channel == EACH)
        if made := journal.open(plan, stamps(found), overwrite, schema):
            return made
        watcher.forecast(foretell(job, found, journal, cost, workers, dtype))
        for rows, notes in embed_parts(job, journal.parts, journal.notes, workers, watcher.progress):
            journal.add(as_table(rows, schema), notes)
        listed = found.listed | {name: note.reason for name, note in journal.notes.items()}
        summary = write_table(target, journal.folder, schema, journal.rows, listed)
        journal.finish(summary)
    return summary


embed_folder = embed_recordings  # its name while a folder was all that it took


def check_order(encoder: object, recordings: object, call: str) -> None:
    """Raise an error where the encoder is not the first argument."""
    if not isinstance(encoder, (Encoder, Outputs)):
        advice = "" if isinstance(recordings, (Encoder, Outputs)) else ", with the encoder that create_model returns"
        raise OscineError(f"the first argument is {str(encoder)[:80]!r}, expected an encoder; call {call}{advice}")


def stamps(found: Survey) -> dict[str, list[Any]]:
    """Return what tells that a recording is as it was: its file's size and time, and the stretches that are read."""
    made: dict[str, list[Any]] = {}
    for recording in found.recordings:
        stamp = made.setdefault(recording.name, [*recording.stamp])
        if (recording.start, recording.end) != WHOLE:
            stamp += [recording.start, recording.end]
    return made


def job_of(
    encoder: Encoder | Outputs,
    hop: float | None,
    batch_size: int | None,
    clock: str | None = None,
    shortest: float = SHORTEST_CLIP,
) -> Job:
    """What a call asks for, of no recordings yet."""
    check_arguments(hop=hop, batch_size=batch_size, shortest=shortest)
    outputs = encoder if isinstance(encoder, Outputs) else Vectors(encoder)
    encoder = outputs.encoder
    if batch_size is None:
        batch_size = 16 if encoder.device.type == "cpu" else 64
    windows = cut(encoder, hop, outputs.samples, shortest)
    return Job(outputs, windows, batch_size, Clock(clock) if clock else None, [], shortest)


def describe(job: Job, dtype: str, channel: Channel = MIX) -> dict[str, Any]:
    """What makes a table, as it stands in its metadata under the key "oscine", in JSON; and what its outputs say."""
    encoder, outputs = job.outputs.encoder, job.outputs
    return {
        "version": __version__,
        "torch": torch.__version__,
        **describe_encoder(encoder),
        "dim": encoder.dim,
        "sample_rate": encoder.sample_rate,
        "clip_seconds": job.windows.samples / encoder.sample_rate,
        "hop_seconds": job.windows.hop / encoder.sample_rate,
        **outputs.describe(),
        "dtype": dtype,
        "precision": outputs.precision,
        "compiled": outputs.compiled,
        "clock": job.clock.name if job.clock else None,
        "channel": channel,
        "shortest": job.shortest,
    }


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Which encoder it is, for JSON.

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
