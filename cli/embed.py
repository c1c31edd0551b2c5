"""`oscine embed FOLDER`: a folder of recordings as a table of embeddings."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from oscine.cli.command import Misuse, call
from oscine.models import embed as room
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub import WEIGHTS
from oscine.models.table import check_target
from oscine.models.zoo import LOCAL, create_model

LISTED = 3  # exit code: finished, but some files are in the error table


def main(arguments: list[str]) -> int | None:
    return call(embed, arguments)


def embed(
    folder: Path,
    /,
    model: str,
    out: Path,
    hop: float | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    device: str = "cpu",
    random_weights: bool = False,
    overwrite: bool = False,
) -> int:
    """Turn a folder of recordings into a table of embeddings, one row a clip.

    FOLDER is searched with all folders below it for WAV, FLAC, Ogg, Opus, MP3, AIFF, CAF and other recordings, of any rate,
    length and number of channels. OUT gets the columns file (its name below FOLDER), start_time, end_time (seconds) and
    embedding; the last clip of a recording is filled up with silence. Beside FILE.parquet, FILE.errors.csv lists the files
    that could not be used and those that are cut short, of which the readable part is embedded.

    Exit code: 0 every recording is in the table, whole; 3 finished, but FILE.errors.csv lists some; 1 failed.

    Args:
        folder: the recordings.
        model: an encoder of the zoo (see oscine models), or local-dir:PATH for one that was saved.
        out: the table to write, FILE.parquet.
        hop: seconds from the start of one clip to the next; a clip's length by default.
        batch_size: clips that the encoder takes at a time.
        workers: processes that read ahead, 0 to read in between; one or two by default.
        device: where the encoder runs, such as cpu, cuda or mps.
        random_weights: leave the encoder untrained, for tests; the table says so.
        overwrite: replace OUT if it exists.
    """
    check_target(out, overwrite)
    encoder, weights = _encoder(model, random_weights)
    encoder = moved(encoder, device)
    with _progress() as progress:
        summary = room.embed_folder(encoder, folder, out, hop, batch_size, workers, overwrite, model, weights, progress)
    print(f"{summary.out}: {summary.rows} clips of {summary.files} recordings, {summary.seconds / 3600:.2f} hours")
    print(f"{summary.errors}: {len(summary.listed)} files that are cut short or could not be used")
    return LISTED if summary.listed else 0


def _encoder(model: str, random_weights: bool) -> tuple[Encoder, str | None]:
    """The encoder, and what the table says of its weights."""
    saved = model.startswith(LOCAL)
    if random_weights and saved:
        raise Misuse(f"{model} brings its own weights; leave out --random-weights, or name a model of the zoo")
    if random_weights:
        torch.manual_seed(0)
        return create_model(model), "random"
    encoder = create_model(model, pretrained=True)
    file = Path(model.removeprefix(LOCAL), WEIGHTS)
    return encoder, hashlib.sha256(file.read_bytes()).hexdigest() if saved else None


def moved(encoder: Encoder, device: str) -> Encoder:
    """The encoder on the device of that name, if there is one."""
    try:
        return encoder.to(device)
    # Each kind of device has its own way to be absent.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OscineError(f"no device {device!r} here ({reason}); --device cpu is always there") from None


@contextmanager
def _progress() -> Iterator[Callable[[room.Progress], None]]:
    """A bar over hours of sound; recordings of different lengths then count for what they are."""
    columns = (
        TextColumn("embed"),
        BarColumn(),
        TextColumn("{task.fields[files]} files, {task.fields[hours]} h, {task.fields[speed]:.0f} x real time, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("embed", total=None, files="0", hours="0", speed=0.0)
        begin = time.monotonic()

        def update(now: room.Progress) -> None:
            bar.update(
                line,
                completed=now.seconds,
                total=now.of_seconds,
                files=f"{now.files}/{now.of_files}",
                hours=f"{now.seconds / 3600:.2f}/{now.of_seconds / 3600:.2f}",
                speed=now.seconds / max(time.monotonic() - begin, 1e-3),
            )

        yield update
