"""Reference values of the strategies, and states of their fixtures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import expit, softmax

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


def state_of(golden: dict[str, np.ndarray], *, several: bool) -> State:
    labelled, candidates = golden["labelled"], golden["pool"]
    logits = golden["phi"] @ golden["weight"].T + golden["bias"]
    p = expit(logits) if several else softmax(logits, axis=1)
    np.testing.assert_allclose(p[candidates], golden["pool_probs"], rtol=0, atol=1e-12)
    labels = golden["y"][labelled]
    return State(
        golden["phi"], p, labelled, labels, candidates, several=several, weight=golden["weight"], bias=golden["bias"]
    )
