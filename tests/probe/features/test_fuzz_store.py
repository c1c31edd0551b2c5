"""Stores of features, searches and fine-tunings on disk, damaged by a seed: each reader ends, with one line at most."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from oscine.models.errors import OscineError
from oscine.probe.features.encoding import Encoding
from oscine.probe.features.store import open_store
from oscine.probe.finetune.run_states import TuningStates
from oscine.probe.fit.search import Trial, _read
from oscine.probe.tasks.task import Task
from tests.fuzzing import check_reader, json_of
from tests.kept_noise import EVERYTHING, tiny_bat


def test_stores(task: Task, tmp_path: Path) -> None:
    encoding = Encoding(tiny_bat(), task, EVERYTHING, batch_size=3)
    open_store(encoding, tmp_path)
    [record] = tmp_path.glob("*/store.json")

    def read() -> None:
        open_store(encoding, tmp_path).take(torch.arange(3))

    check_reader(record, read, 60, json_of(record))
    check_reader(record, read, 30)
    check_reader(record.parent / "pooled.npy", read, 60)


def test_a_store_whose_numbers_are_objects_runs_nothing_and_is_one_line(task: Task, tmp_path: Path) -> None:
    encoding = Encoding(tiny_bat(), task, EVERYTHING, batch_size=3)
    open_store(encoding, tmp_path)
    [path] = tmp_path.glob("*/pooled.npy")
    np.save(path, np.array([{"a": 1}] * 10_000, dtype=object), allow_pickle=True)
    with pytest.raises(OscineError, match=r"pooled\.npy cannot be read .*; delete .*, which is encoded again"):
        open_store(encoding, tmp_path)


def test_searches(tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    path.write_text(json.dumps({"record": {"a": 1}, "trials": [Trial({"lr": 0.1}, 0.5)._asdict()]}))
    check_reader(path, lambda: _read(path, {"a": 1}, False), 100, json_of(path))
    check_reader(path, lambda: _read(path, {"a": 1}, False), 50)


def test_fine_tunings(tmp_path: Path) -> None:
    states = TuningStates(tmp_path / "states", {"a": 1})
    states.lock.close()
    path = tmp_path / "states" / "settings.json"
    check_reader(path, lambda: states.check({"a": 1}), 100, json_of(path))
    check_reader(path, lambda: states.check({"a": 1}), 50)
