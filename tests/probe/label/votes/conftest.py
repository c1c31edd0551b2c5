"""The reference values of votes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "label_annotators.safetensors"


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    return load_file(GOLDEN)
