"""Reference values of the strategies, and states of their fixtures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from oscine.probe.label import State

GOLDEN = Path(__file__).resolve().parents[3] / "golden"


@pytest.fixture(scope="session")
def query() -> dict[str, np.ndarray]:
    """One label a clip."""
    return load_file(GOLDEN / "label_query.safetensors")


@pytest.fixture(scope="session")
def multilabel() -> dict[str, np.ndarray]:
    """Several labels a clip."""
    return load_file(GOLDEN / "label_multilabel.safetensors")


@pytest.fixture(scope="session")
def one_label(query: dict[str, np.ndarray]) -> State:
    return state_of(query, several=False)


@pytest.fixture(scope="session")
def several_labels(multilabel: dict[str, np.ndarray]) -> State:
    return state_of(multilabel, several=True)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def state_of(golden: dict[str, np.ndarray], *, several: bool) -> State:
    """Only candidates have probabilities there; those of labelled clips are made up, and not looked at."""
    labelled, candidates = golden["labelled"], golden["pool"]
    p = np.full((len(golden["phi"]), golden["pool_probs"].shape[1]), 1 / golden["pool_probs"].shape[1])
    p[candidates] = golden["pool_probs"]
    labels = golden["y"][labelled]
    return State(
        golden["phi"], p, labelled, labels, candidates, several=several, weight=golden["weight"], bias=golden["bias"]
    )
