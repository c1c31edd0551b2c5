"""`oscine embed FOLDER`: a folder of recordings as a table of embeddings."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from oscine.cli.command import Misuse, call
from oscine.cli.encoder import open_encoder
from oscine.models.embed import Forecast, Watcher, embed_folder
from oscine.models.journal import Journal
from oscine.models.parts import Progress
from oscine.models.precision import AUTO
from oscine.models.survey import ALL, parse_shard
from oscine.models.table import Summary, check_target
from oscine.models.vectors import POOLED

LISTED = 3  # exit code: finished, but some files are in the error table
SHOWN = 5  # reasons that are said at the start; all are in the error table
LINE_SECONDS = 30  # between lines where there is no terminal for a bar


def main(arguments: list[str]) -> int | None:
    return call(embed, arguments)


def embed(
    folder: Path,
    /,
    model: str,
    out: Path,
    checkpoint: Path | None = None,
    hop: float | None = None,
    layers: str | None = None,
    pools: str = POOLED,
    dtype: str = "float32",
    precision: str = AUTO,
    clock: str | None = None,
    shard: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
    compile: bool = False,
    random_weights: bool = False,
    overwrite: bool = False,
) -> int:
    """Turn a folder of recordings into a table of embeddings, one row a clip.

    FOLDER is searched with all folders below it for WAV, FLAC, Ogg, Opus, MP3, AIFF, CAF and other recordings, of any rate,
    length and number of channels. OUT gets the columns file (its name below FOLDER), start_time, end_time (seconds) and
    embedding; the last clip of a recording is filled up as in the encoder's training, its end_time is where the sound ends.
    Beside FILE.parquet, FILE.errors.csv lists the files that could not be used and those that are cut short, of which the
    readable part is embedded.

    First it says what it found and what it will cost. Whatever stops it (a crash, a full disk, kill -9, Ctrl-C): the same
    call goes on where it was, and the table comes out the same; a call with other arguments is refused, --overwrite starts
    anew. Until the table is finished, its parts lie in OUT.journal.

    Exit code: 0 every recording is in the table, whole; 3 finished, but FILE.errors.csv lists some; 1 failed.

    Args:
        folder: the recordings.
        model: an encoder of the zoo (see oscine models), hf-hub:OWNER/REPOSITORY, or local-dir:PATH for one that was saved.
        out: the table to write, FILE.parquet; FILE.npz and FILE.csv are possible.
        checkpoint: a file of weights for the encoder, instead of those that would be fetched.
        hop: seconds from the start of one clip to the next; a clip's length by default.
        layers: of the pools cls and mean, with commas (--layers=5,-1), from 0 or back from -1; the last by default.
        pools: with commas: pooled (the model's own vector, column embedding), cls, mean (columns such as cls_11, mean_11).
        dtype: of the numbers in the table, float32 or float16, which halves it.
        precision: of the encoder: float32, bfloat16, or auto: bfloat16 where a long job is faster so; with --shard, float32.
        clock: adds the column recorded: when a clip began by its recorder's file name, in UTC, local or such as Europe/Rome.
        shard: only one of several jobs' share, such as 2/8; oscine merge joins their tables.
        batch_size: clips that the encoder takes at a time; 16 on a CPU, else 64.
        workers: processes that read ahead, 0 to read in between; by default what the machine has to spare.
        device: where the encoder runs, such as cpu, cuda or mps.
        compile: make the encoder faster with torch.compile, which takes minutes at first and a C++ compiler.
        random_weights: leave the encoder untrained, for tests; the table says so.
        overwrite: replace OUT and what an unfinished call has left.
    """
    target = check_target(out)
    Journal(target).check_free(overwrite)
    chosen = None if layers is None else _layers(layers)
    share = ALL if shard is None else parse_shard(shard)
    encoder = open_encoder(model, checkpoint, random_weights, device)
    with watching(Console(stderr=True)) as watcher:
        summary = embed_folder(
            encoder, folder, target, hop, batch_size, workers, overwrite, chosen, pools.split(","), dtype, precision,
            compile, clock, share, watcher,
        )  # fmt: skip
    say(summary)
    return LISTED if summary.listed else 0


def say(summary: Summary) -> None:
    print(f"{summary.out}: {summary.rows} clips of {summary.files} recordings, {summary.seconds / 3600:.2f} hours")
    print(f"{summary.errors}: {len(summary.listed)} files that are cut short or could not be used")


def _layers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise Misuse(f"layers {text!r}: expected numbers with commas, such as --layers=5,-1") from None


class Reporter(Watcher):
    """Says on a console what was found, what it will cost and how far it is, with a bar or line by line."""

    def __init__(self, console: Console, bar: Bar | None) -> None:
        self.console = console
        self.bar = bar
        self.line = bar.add_task("read headers", total=None) if bar else None
        self.begin = self.said = time.monotonic()
        self.first: Progress | None = None

    def scanned(self, files: int, of_files: int) -> None:
        self._show(f"read headers {files}/{of_files}", files, of_files)

    def forecast(self, forecast: Forecast) -> None:
        recordings, listed = forecast.found.recordings, forecast.found.listed
        hours = sum(recording.info.seconds for recording in recordings) / 3600
        self._say(
            f"found {len(recordings)} recordings, {hours:.2f} hours, {forecast.clips} clips; "
            f"{len(listed)} files cut short or unusable{':' if listed else ''}"
        )
        for name, reason in sorted(listed.items())[:SHOWN]:
            self._say(f"  {name}: {reason}")
        if len(listed) > SHOWN:
            self._say(f"  and {len(listed) - SHOWN} more, all of them in the error table")
        if forecast.clips_done:
            self._say(f"going on: {forecast.clips_done} clips are done")
        self._say(
            f"about {duration(forecast.seconds)} in {forecast.precision}; the table takes about {size(forecast.size)} "
            f"and its journal as much until it is finished, of {size(forecast.free)} that are free"
        )

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self.begin, self.said = progress, now, now
        self._show(describe(self.first, progress, now - self.begin), progress.clips, progress.of_clips)

    def _show(self, text: str, done: int, total: int) -> None:
        if self.bar and self.line is not None:
            self.bar.update(self.line, description=text, completed=done, total=total)
        elif time.monotonic() - self.said >= LINE_SECONDS:
            self.said = time.monotonic()
            self._say(text)

    def _say(self, text: str) -> None:
        if self.bar:
            self.bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)  # a console would break lines at 80 columns, also in a log


@contextmanager
def watching(console: Console) -> Iterator[Reporter]:
    """A bar over clips while the block runs, on standard error; lines where that is no terminal."""
    if not console.is_terminal:
        yield Reporter(console, None)
        return
    with Bar(BarColumn(), TextColumn("{task.description}", markup=False), console=console) as bar:
        yield Reporter(console, bar)


def describe(first: Progress, now: Progress, seconds: float) -> str:
    """How far, how fast and how long: speed and time left by what this call has done itself."""
    text = f"{now.files}/{now.of_files} files, {now.seconds / 3600:.2f}/{now.of_seconds / 3600:.2f} h"
    clips, heard = now.clips - first.clips, now.seconds - first.seconds
    if not clips:
        return text
    left = seconds * (now.of_clips - now.clips) / clips
    return f"{text}, {heard / 3600 / seconds:.3f} h/s ({heard / seconds:.0f} x real time), {duration(left)} left"


def duration(seconds: float) -> str:
    """In words, with two parts at most: 3 d 4 h, 2 h 5 min, 40 s."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if round(seconds) < 60:
        return f"{max(1, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """Bytes in words."""
    for unit, power in (("GB", 9), ("MB", 6)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{max(1, round(count / 1000))} kB"
