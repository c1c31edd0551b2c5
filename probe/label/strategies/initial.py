"""Choose the clips to label first, before a probe can be fitted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oscine.models.errors import Misuse
from oscine.probe.label.geometry import nearest_to_centres
from oscine.probe.label.state import State
from oscine.probe.label.strategies.random import fill_up
from oscine.probe.label.strategies.registry import choose

INITIAL_SETS = ("random", "typiclust", "kmeans", "coreset")


class Default(NamedTuple):
    """What to choose clips by where nobody says it, and why."""

    initial: str
    strategy: str
    reason: str


def initial_set(name: str, features: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose k clips to label first, in the order of choice.

    features: [clips, dim]
    name: random · typiclust: the most typical clip of each of k clusters · kmeans: the clip nearest to each centre ·
    coreset: the clip nearest to the mean, then the farthest ones, which are mostly outliers
    """
    check_initial_set(name)
    none = np.array([], dtype=np.int64)
    state = State(features, None, none, none, np.arange(len(features)))
    if name != "kmeans":
        return choose(name, state, k, generator)
    k = min(k, len(state.features))
    return fill_up(state, k, generator, chosen=nearest_to_centres(state.features, k, generator))


def check_initial_set(name: str) -> None:
    """Raise where no initial set has that name."""
    if name not in INITIAL_SETS:
        raise Misuse(f"no initial set {name!r}; expected one of {', '.join(INITIAL_SETS)}")


def default_strategy(several: bool | None) -> Default:
    """Return what to choose by in a kind of task.

    several: clips may have several labels; None where that is not known.
    """
    return DEFAULTS[several]


# What was measured (benchmarks/RESULTS.md), as area under the curve over labels, against random clips.
DEFAULTS = {
    False: Default(
        "typiclust",
        "uherding",
        "one label a clip: unsure clips that represent many; on ESC-10 above random clips with both kinds of features, "
        "whatever the first clips",
    ),
    True: Default(
        "typiclust",
        "half_coreset_half_entropy",
        "several labels a clip: half of them far from the labelled ones, half unsure; on mixtures of ESC-10 above random "
        "clips with both kinds of features, where CoreSet alone gained slightly more",
    ),
    None: Default(
        "typiclust",
        "refine",
        "nothing is known of the labels: several strategies propose clips and UHerding chooses among them; with margin and "
        "TypiClust on ESC-10 above random clips with both kinds of features",
    ),
}
