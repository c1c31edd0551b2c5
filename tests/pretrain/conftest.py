"""What runs of several tests learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of noise, 3 s each."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / f"{number}.flac", rng.uniform(-0.3, 0.3, 48_000), 16_000)
    return folder
