"""Choose clips at random: what every strategy must beat."""

from __future__ import annotations

import numpy as np

from oscine.probe.label.state import State


def random(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Draw k candidates, each as likely as any other."""
    return generator.choice(state.candidates, k, replace=False)


def fill_up(state: State, k: int, generator: np.random.Generator, *, chosen: np.ndarray) -> np.ndarray:
    """Return the chosen clips and others at random, k in all."""
    if len(chosen) == k:
        return chosen
    left = np.setdiff1d(state.candidates, chosen)
    return np.concatenate([chosen, generator.choice(left, k - len(chosen), replace=False)])
