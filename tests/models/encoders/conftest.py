"""A task for whatever is built for an encoder."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from oscine.probe.tasks.task import Task, read_task
from tests.stand_in_encoders import RATE


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """High and low tones of up to half a second, in two folds."""
    folder, lines = tmp_path_factory.mktemp("tones"), ["path,label,fold"]
    draw = np.random.default_rng(0)
    for row in range(12):
        time = np.arange(RATE // 2 - 100 * row) / RATE
        tone = 0.3 * np.sin(2 * np.pi * (2500 if row % 2 else 400) * time) + 0.02 * draw.standard_normal(len(time))
        soundfile.write(folder / f"{row}.wav", tone, RATE)
        lines.append(f"{row}.wav,{'high' if row % 2 else 'low'},{row // 2 % 2}")
    (folder / "table.csv").write_text("\n".join(lines))
    return read_task(folder / "table.csv")
