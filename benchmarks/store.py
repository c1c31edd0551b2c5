"""Five folds of four probes from a store, which encodes each clip once, against encoding it once for every probe.

python benchmarks/store.py --clips 20
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from jsonargparse import auto_cli

from oscine.cli.console import config
from oscine.cli.probe.probe import PROBES
from oscine.models import create_model
from oscine.probe.features.encoding import Encoding, encode_task
from oscine.probe.features.store import open_store
from oscine.probe.fit.judge import FeatureSource, judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.tasks.task import Task, read_task

FOLDS, CLASSES, SECONDS, ROWS = 5, 10, 5.0, 400  # of ESC-10
WIDEST = Needs(layers=None, parts=("cls", "patches"))  # what the convex gated probe reads; the others read parts of it


WAYS = ("with", "without")


def store(clips: int = 20, epochs: int | None = None, model: str = "bat_base", threads: int = 1) -> None:
    """Print seconds of four probes, each fitted and judged in a call of its own, with a store and without, and their ratio.

    Without a store every call encodes the clips once, into memory; with one the first call does, for all. The fits are the
    quickstart's, with as many epochs as they have on the 400 clips of ESC-10, and are timed both ways.

    Args:
        clips: rows of the task, of noise.
        epochs: of every fit, instead of its own.
        model: the encoder, whose weights are random.
        threads: that torch may use.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = create_model(model).eval()
    with tempfile.TemporaryDirectory() as folder:
        task, root = noise(Path(folder), clips), Path(folder, "stores")
        Encoding(encoder, task, WIDEST).take(torch.arange(1))  # warms up
        spent, encoded = {way: np.zeros(2) for way in WAYS}, Counter[str]()

        def features(way: str, needs: Needs) -> FeatureSource:
            def progress(done: int, total: int) -> None:
                encoded[way] += 1  # a batch, which is one clip on a CPU

            if way == "without":
                return encode_task(encoder, task, needs, batch_size=1, progress=progress)
            return open_store(Encoding(encoder, task, needs), root, progress=progress)

        def call(way: str, make_probe: Callable[[], Probe], settings: FitSettings) -> None:
            judge(make_probe, features(way, make_probe().needs), task, settings)

        spent["with"] += timed(lambda: features("with", WIDEST))
        print(f"{clips} clips: {said(spent['with'])} to encode and write for all probes", flush=True)
        for name, chosen in config.read(config.find_quickstart())["probes"].items():
            make_probe = partial(PROBES[chosen["probe"]], encoder, len(task.classes), **chosen["head"])
            settings = fit_settings(chosen["fit"], clips, epochs)
            for way in WAYS:  # in turn, so that other work on the machine meets both
                each = timed(partial(call, way, make_probe, settings))
                print(f"{name}, {way} the store: {said(each)}", flush=True)
                spent[way] += each
    ratio = spent["without"] / spent["with"]
    print(
        f"{len(task.parts)} folds x 4 probes, {model}, {threads} threads: {said(spent['with'])} with the store, "
        f"{encoded['with']} clips encoded; {said(spent['without'])} without, {encoded['without']} clips encoded; "
        f"ratio {ratio[0]:.2f}, of CPU {ratio[1]:.2f}"
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
