"""Windows mixed of labelled clips, any number of classes in each: events over rain, waves or noise, as a labelled table.

python benchmarks/mixtures.py --table esc10.csv --out mixtures
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from jsonargparse import auto_cli

from oscine.models.audio.load import load_audio
from oscine.probe.tasks.task import Task, read_task

RATE, SECONDS = 32_000, 3.0  # Hz; of a window
BACKGROUNDS = ("rain", "sea_waves")  # classes that no label is given for; white noise is the third
EMPTY = 0.53  # share of the windows without any event
STEEPNESS = 1.2  # the class of rank r is in a share of windows that falls with r^-1.2
LEVEL = -45.0, -30.0  # RMS of what lies behind, in decibels below full scale
PEAKS = -30.0, -6.0  # of events
SPLITS = {"train": (1500, (1, 2, 3)), "test": (700, (4, 5))}  # windows, and the folds that they are mixed of


def mixtures(table: Path, out: Path, seed: int = 0) -> None:
    """Write windows as FLAC files and labels.csv, with the columns path, labels ("nocall" without any) and split.

    Args:
        table: labelled clips with folds, such as ESC-10's.
        out: a folder that does not exist.
        seed: of all draws.
    """
    task, rng = read_task(table), np.random.default_rng(seed)
    events = [name for name in task.classes if name not in BACKGROUNDS]
    shares = class_shares(len(events))
    out.mkdir(parents=True)
    lines = ["path,labels,split"]
    for split, (windows, folds) in SPLITS.items():
        of_class = clips_of(task, folds)
        for number in range(windows):
            present = [name for name, drawn in zip(events, rng.random(len(events)) < shares, strict=True) if drawn]
            name = f"{split}_{number:04}.flac"
            soundfile.write(out / name, window(of_class, present, rng), RATE)
            lines.append(f"{name},{';'.join(present) or 'nocall'},{split}")
    (out / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def class_shares(classes: int) -> np.ndarray:  # [classes]
    """Return in which share of windows each class is, drawn by itself, so that `EMPTY` of them have none."""
    falling = np.arange(1, classes + 1) ** -STEEPNESS
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.prod(1 - middle * falling) > EMPTY else (low, middle)
    return low * falling


def clips_of(task: Task, folds: tuple[int, ...]) -> dict[str, list[str]]:
    """Return the files of every class that are in these folds."""
    rows = task.rows[task.rows["fold"].isin(folds)]
    labels = np.array(task.classes)[task.targets.numpy()[rows.index]]
    return {name: rows["path"][labels == name].tolist() for name in task.classes}


def window(of_class: dict[str, list[str]], present: list[str], rng: np.random.Generator) -> np.ndarray:  # [samples]
    """Mix a window: what lies behind, and one clip of each class around its loudest moment."""
    samples = round(SECONDS * RATE)
    behind = rng.choice([*BACKGROUNDS, "noise"])
    if behind == "noise":
        mixed = rng.normal(size=samples)
    else:
        clip = read(rng.choice(of_class[behind]), samples)
        start = rng.integers(len(clip) - samples + 1)
        mixed = clip[start : start + samples].copy()
    mixed *= 10 ** (rng.uniform(*LEVEL) / 20) / max(np.sqrt(np.mean(mixed**2)), 1e-9)
    for name in present:
        clip = read(rng.choice(of_class[name]), samples)
        loudest, place = int(np.abs(clip).argmax()), int(rng.integers(samples))  # where it comes to lie in the window
        mixed += padded(clip, loudest - place, samples) * (
            10 ** (rng.uniform(*PEAKS) / 20) / max(abs(clip[loudest]), 1e-9)
        )
    return mixed.clip(-1, 1)


def read(path: str, least: int) -> np.ndarray:  # [samples]
    """Read a clip, with silence behind it where it is short."""
    clip = load_audio(path, RATE).numpy().astype(np.float64)
    return np.pad(clip, (0, max(0, least - len(clip))))


def padded(clip: np.ndarray, start: int, samples: int) -> np.ndarray:  # [samples]
    """Return a stretch of a clip that may begin before it and end after it, where it is silent."""
    wide = np.pad(clip, samples)
    return wide[start + samples : start + 2 * samples]


if __name__ == "__main__":
    auto_cli(mixtures, as_positional=False)
