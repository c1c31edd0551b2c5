"""How long commands take before they do their work, beside importing torch on the same machine: seconds and peak memory.

python benchmarks/start.py --repeats 3

Each runs in a process of its own, in turns; of its times the smallest counts. POSIX only: the memory is `wait4`'s.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import soundfile
from jsonargparse import auto_cli

YARDSTICK = "import torch"
ENCODER = "from oscine.models import create_model; create_model('bird_mae_tiny.esc10', pretrained=True)"
CODE = (YARDSTICK, "import torch, timm.layers", ENCODER)
COMMANDS = (
    "--version", "models", "embed --help", "probe --help", "probe linear --help", "pretrain bat_tiny --help",
    "compare --task hsn", "download bird_mae_tiny.esc10", "embed wood --model bat_tyni --out new.parquet",
    "predict wood --probe nowhere --out new.parquet", "publish nowhere robin/bird",
    "embed wood --model bird_mae_tiny.esc10 --out made.parquet --overwrite --workers 0",
)  # fmt: skip


class Cost(NamedTuple):
    """Of a process, from its start to its end."""

    seconds: float
    megabytes: float


def cost_of(arguments: list[str], folder: Path) -> Cost:
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = 0  # it has been waited for
    return Cost(seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))


def main(repeats: int = 3) -> None:
    """Print a row a command.

    Args:
        repeats: of each; the first is not counted where there are more, since it fills the disk's cache.
    """
    calls = {code: ["-c", code] for code in CODE}
    calls |= {f"oscine {command}": ["-m", "oscine", *command.split()] for command in COMMANDS}
    costs: dict[str, list[Cost]] = {name: [] for name in calls}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "wood").mkdir()
        soundfile.write(folder / "wood" / "a.wav", np.zeros(32_000), 32_000)
        for _ in range(repeats):
            for name, arguments in calls.items():
                costs[name].append(cost_of(arguments, folder))
    best = {name: min(found[1:] or found) for name, found in costs.items()}
    print(f"{'seconds':>8} {'of torch':>8} {'MB':>6}")
    for name, cost in best.items():
        print(f"{cost.seconds:8.2f} {cost.seconds / best[YARDSTICK].seconds:8.2f} {cost.megabytes:6.0f}  {name}")


if __name__ == "__main__":
    auto_cli(main)
