"""Four clusters in two folds, one of them rare, as tables of two encoders of which one hears less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oscine.probe.label.simulation.settings import SimulationSettings
from oscine.probe.label.simulation.views import Encoded, View, view
from oscine.probe.tasks.task import Task, read_task
from tests.embedding_tables import write_embeddings, write_labels

COUNTS = {"crow": 20, "owl": 20, "tit": 14, "wren": 6}


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels.csv (one label a clip), several.csv, sharp.parquet, and dull.parquet, of more noise."""
    folder = tmp_path_factory.mktemp("simulation")
    names = [name for name, count in COUNTS.items() for _ in range(count)]
    folds = [1 + number % 2 for number in range(len(names))]
    files = write_labels(folder / "labels.csv", names, folds)
    both = [f"{name};crow" if number % 4 < 2 and name != "crow" else name for number, name in enumerate(names)]
    write_labels(folder / "several.csv", both, folds)
    rng = np.random.default_rng(0)
    centres = {name: rng.normal(size=12) for name in COUNTS}
    for name, spread in (("sharp", 0.3), ("dull", 2.0)):
        vectors = np.array([centres[label] + spread * rng.normal(size=12) for label in names])
        write_embeddings(folder / f"{name}.parquet", files, {"embedding": vectors})
    return folder


@pytest.fixture
def settings(place: Path, tmp_path: Path) -> SimulationSettings:
    return SimulationSettings(
        embeddings=[place / "sharp.parquet"], table=place / "labels.csv", out=tmp_path / "out",
        strategies="random, margin", initial=3, batch=2, batches=3, seeds=2, workers=1,
    )  # fmt: skip


@pytest.fixture
def task(settings: SimulationSettings) -> Task:
    return read_task(settings.source)


@pytest.fixture
def encoded(task: Task) -> Encoded:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(4, 12))
    return Encoded(centres[task.targets.numpy()] + 0.3 * rng.normal(size=(len(task.rows), 12)), "made_up")


@pytest.fixture
def seen(settings: SimulationSettings, task: Task, encoded: Encoded) -> View:
    return view(settings, task, encoded.vectors, 0)
