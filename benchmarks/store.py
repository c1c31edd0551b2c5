"""Five folds of four probes from features that were encoded once, against encoding every clip whenever it is needed.

python benchmarks/store.py --clips 40
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from jsonargparse import auto_cli
from torch import Tensor

from oscine.cli import config
from oscine.cli.probe import PROBES
from oscine.models import create_model
from oscine.models.features import Features
from oscine.probe.data import Task, read_task
from oscine.probe.encoding import Encoding
from oscine.probe.fit import FeatureSource, FitSettings, judge
from oscine.probe.probe import Needs
from oscine.probe.shelf import open_store

FOLDS, CLASSES, SECONDS, ROWS = 5, 10, 5.0, 400  # of ESC-10
WIDEST = Needs(layers=None, parts=("cls", "patches"))  # what the convex gated probe reads; the others read parts of it


class Counted:
    """A source that counts the clips that are taken of it."""

    def __init__(self, source: FeatureSource) -> None:
        self.source, self.clips = source, 0

    def take(self, rows: Tensor, /) -> Features:
        self.clips += len(rows)
        return self.source.take(rows)


def store(
    clips: int = 40, epochs: int | None = None, measured: int = 16, model: str = "bat_base", threads: int = 1
) -> None:
    """Print seconds of both ways and their ratio, in one run.

    The fits are the quickstart's, with as many epochs as they have on the 400 clips of ESC-10. Encoding anew is extrapolated
    from a few clips to all that the fits take, and the work of the fits themselves is not added to it.

    Args:
        clips: rows of the task, of noise.
        epochs: of every fit, instead of its own.
        measured: clips whose encoding is timed.
        model: the encoder, whose weights are random.
        threads: that torch may use.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = create_model(model).eval()
    with tempfile.TemporaryDirectory() as folder:
        task, root = noise(Path(folder), clips), Path(folder, "stores")
        encoding = Encoding(encoder, task, WIDEST)
        encoding.take(torch.arange(1))  # warms up
        each = timed(lambda: encoding.take(torch.arange(measured))) / measured
        spent, taken = timed(lambda: open_store(encoding, root)), 0
        print(f"{clips} clips, {encoding.nbytes / 1e9:.2f} GB: {said(spent)} to encode and write", flush=True)
        for name, chosen in config.read(config.find_quickstart())["probes"].items():
            make_probe = partial(PROBES[chosen["probe"]], encoder, len(task.classes), **chosen["head"])
            source = Counted(open_store(Encoding(encoder, task, make_probe().needs), root))
            settings = fit_settings(chosen["fit"], clips, epochs)
            fits = timed(partial(judge, make_probe, source, task, settings))
            print(f"{name}: {said(fits)}, {source.clips} clips taken", flush=True)
            spent, taken = spent + fits, taken + source.clips
    ratio = taken * each / spent
    print(
        f"{len(task.parts)} folds x 4 probes, {model}, {threads} threads: {said(spent)} with the store; encoding anew "
        f"{said(taken * each)}, extrapolated from {measured} clips to {taken}; ratio {ratio[0]:.0f}, of CPU {ratio[1]:.0f}"
    )


def timed(work: Callable[[], object]) -> np.ndarray:
    """Seconds that have passed, and those of CPU, which other work on the machine does not lengthen."""
    begin = np.array([time.perf_counter(), time.process_time()])
    work()
    return np.array([time.perf_counter(), time.process_time()]) - begin


def said(seconds: np.ndarray) -> str:
    return f"{seconds[0]:.0f} s ({seconds[1]:.0f} s of CPU)"


def fit_settings(fit: dict[str, Any], clips: int, epochs: int | None) -> FitSettings:
    """The quickstart's for so many rows: as many epochs as on ESC-10."""
    batches, all_batches = (math.ceil(rows * (FOLDS - 1) / FOLDS / fit["batch_size"]) for rows in (clips, ROWS))
    steps = (epochs or fit["steps"] // all_batches) * batches
    return FitSettings(**fit | {"steps": steps, "warmup": steps // 10})


def noise(folder: Path, clips: int) -> Task:
    """A labelled table like ESC-10's, of noise."""
    rng = np.random.default_rng(0)
    lines = ["path,label,fold"]
    for row in range(clips):
        soundfile.write(folder / f"{row}.wav", rng.uniform(-0.4, 0.4, int(SECONDS * 16_000)), 16_000)
        lines.append(f"{row}.wav,{row // FOLDS % CLASSES},{row % FOLDS}")
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return read_task(folder / "labels.csv")


if __name__ == "__main__":
    auto_cli(store, as_positional=False)
