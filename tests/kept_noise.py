"""Recordings of noise and a tiny encoder of them, whose features are worth keeping, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.bat import BAT
from oscine.probe.features.encoding import Encoding
from oscine.probe.features.store import Store, open_store
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import Task

EVERYTHING = Needs(layers=None, parts=("cls", "patches", "pooled"))
ROWS = 14


def tiny_bat() -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=24, depth=3, heads=2, seconds=0.5).eval()


def noise_table(folder: Path) -> Path:
    """Recordings of noise, of several lengths; two rows are parts of one of them."""
    noise = np.random.default_rng(0)
    lines = ["path,label,fold,start,end"]
    for row in range(ROWS - 2):
        soundfile.write(folder / f"{row}.wav", noise.uniform(-0.4, 0.4, 3000 + 1000 * row), 16_000)
        lines.append(f"{row}.wav,{'ab'[row % 2]},{row // 2 % 3},,")
    lines += ["11.wav,b,2,0.25,0.75", "11.wav,a,2,0.5,0.6"]
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def opened(encoder: Encoder, task: Task, root: Path, needs: Needs = EVERYTHING, **how: Any) -> Store:
    found = open_store(Encoding(encoder, task, needs, batch_size=3, **how), root)
    assert isinstance(found, Store)
    return found


def same(one: Features, two: Features) -> bool:
    return all(mine.shape == other.shape and torch.equal(mine, other) for mine, other in zip(one, two, strict=True))


def folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()} if root.exists() else set()


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the stores below, byte by byte, but for locks, which one that is killed leaves."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in ("lock", "lock.json")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def shuffled(rows: int = ROWS) -> Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(0))
