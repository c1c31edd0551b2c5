"""Tell what embed, predict and merge found, what it will cost, how far it is, and what was made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from oscine.models.embed.progress import Forecast, Progress, Watcher
from oscine.models.files import bytes_in_words
from oscine.models.progress import Bar, ShowProgress
from oscine.models.text.words import counted, duration, length

if TYPE_CHECKING:
    from oscine.models.embed.table import Summary

SHOWN = 5  # reasons that are said at the start; all are in the error table


class Reporter(Watcher):
    """Says what was found, what it will cost and how far it is.

    called: when the command was called, by `time.monotonic`: what it has taken to begin is a part of what it takes.
    """

    def __init__(self, bar: Bar, called: float) -> None:
        self.bar = bar
        self.called = called
        self.headers = bar.task("read headers")
        self.clips: ShowProgress | None = None
        self.first: Progress | None = None
        self.begin = 0.0

    def scanned(self, files: int, of_files: int) -> None:
        self.headers(files, of_files)

    def forecast(self, forecast: Forecast) -> None:
        recordings, listed = forecast.found.recordings, forecast.found.listed
        seconds = sum(recording.seconds for recording in recordings)
        files = len({recording.name for recording in recordings})
        parts = f" ({len(recordings)} stretches or channels)" if len(recordings) > files else ""
        clips = counted(forecast.clips, "clip")
        self.bar.say(
            f"found {counted(files, 'recording')}{parts}, {length(seconds)}, {clips}; "
            f"cut short or unusable by their headers: {len(listed) or 'none'}"
        )
        for name, reason in sorted(listed.items())[:SHOWN]:
            self.bar.say(f"  {name}: {reason}")
        if len(listed) > SHOWN:
            self.bar.say(f"  and {len(listed) - SHOWN} more, all of them in the error table")
        if forecast.left_out:
            self.bar.say(
                f"left out: {counted(forecast.left_out, 'last clip')} of less than {forecast.shortest:.3g} of a clip; "
                "--shortest 0 keeps every one"
            )
        if forecast.clips_done:
            self.bar.say(f"going on: {counted(forecast.clips_done, 'clip is', 'clips are')} done")
        passed = time.monotonic() - self.called
        whole = passed + forecast.seconds
        # Of a short run as many seconds have passed before it can be said.
        so_far = f", of which {duration(passed)} have passed" if round(whole) >= 60 else ""
        self.bar.say(
            f"about {duration(whole)} in all{so_far}, in {forecast.precision}; the table takes about "
            f"{bytes_in_words(forecast.size)} and its journal as much until it is finished, of "
            f"{bytes_in_words(forecast.free)} that are free"
        )

    def progress(self, progress: Progress) -> None:
        if self.clips is None or self.first is None:
            self.clips, self.first, self.begin = self.bar.task("clips"), progress, time.monotonic()
        note = describe(self.first, progress, time.monotonic() - self.begin)
        self.clips(progress.clips, progress.of_clips, note)


def describe(first: Progress, now: Progress, seconds: float) -> str:
    """Say how much is done, and how fast this call has done its part."""
    text = f"{now.seconds / 3600:.2f}/{now.of_seconds / 3600:.2f} h"
    done = now.seconds - first.seconds
    return f"{text}, {done / seconds:.0f} x real time" if done else text


@contextmanager
def say_if_lost(target: Path) -> Iterator[None]:
    """Have a call that is stopped in the block say so where nothing of it is kept."""
    try:
        yield
    except KeyboardInterrupt:
        from oscine.models.embed.journal import Journal

        if Journal(target).keeps():
            raise
        raise KeyboardInterrupt("nothing is kept yet, the next call begins anew") from None


def print_summary(summary: Summary, row: str = "clip") -> None:
    from oscine.models.audio.load import IN_PART

    rows, files = counted(summary.rows, row), counted(summary.files, "recording")
    print(f"{summary.out}: {rows} of {files}, {length(summary.seconds)}")
    if not summary.listed:
        return
    short = sum(reason.startswith(IN_PART) for reason in summary.listed.values())
    refused = len(summary.listed) - short
    in_part = counted(short, "file that is", "files that are")
    reasons = [f"{in_part} cut short, damaged or not as the header says (what can be read is in the table)"] * bool(
        short
    )
    reasons += [f"{counted(refused, 'file')} that could not be used"] * bool(refused)
    print(f"{summary.errors}: {', '.join(reasons)}")
