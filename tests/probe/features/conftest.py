"""Fixtures of features: a task on noise, and encoders that are made of it in no time."""

from __future__ import annotations

import pytest
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.probe.tasks.task import Task, read_task
from tests.kept_noise import noise_table, tiny_bat


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return read_task(noise_table(tmp_path_factory.mktemp("recordings")))


@pytest.fixture
def bat() -> Encoder:
    return tiny_bat()


@pytest.fixture(scope="module", params=[BAT, BirdMAE])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    return request.param(dim=24, depth=3, heads=2, drop_path=0.3, seconds=0.5).eval()
