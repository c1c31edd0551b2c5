"""Choose clips that have what is sought: a goal after DADO (arXiv 2307.04536), and rare classes.

Their labels are one-sided on purpose, and never say how well a probe does or how frequent a class is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from oscine.models.errors import Misuse, OscineError
from oscine.probe.label.geometry import largest
from oscine.probe.label.state import State

EXPECTED = 0.2  # positives that a clip brings at least, so that no class is asked for without end


def goal(
    state: State,
    k: int,
    generator: np.random.Generator,
    *,
    classes: Sequence[int] = (),
    objectives: ArrayLike | None = None,
    rule: str = "select",
) -> np.ndarray:
    """Choose the clips that come nearest to a goal.

    The goal is that all objectives are 0, nearness the length of their vector.
    classes: numbers of those that are sought; the objective is 1 less the probability of each
    objectives: [clips, any number] more of 0 to 1, smaller being better, such as 1 less the rank of a clip's loudness
    rule: "select" takes the best of all candidates, "reject" the better half of 2k that are drawn
    """
    candidates = state.candidates
    if rule not in ("select", "reject"):
        raise Misuse(f"rule is {rule!r}, expected select or reject")
    if rule == "reject" and 2 * k < len(candidates):
        candidates = np.sort(generator.choice(candidates, 2 * k, replace=False))
    lengths = np.linalg.norm(_objectives(state, classes, objectives)[candidates], axis=1)
    return candidates[largest(-lengths, k)]


def seek_rare(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose in turn the likeliest clip of the rarest class.

    Positives that the chosen clips may bring are counted.
    """
    p = state.of_candidates("probabilities")
    positives, left, chosen = state.positives.astype(float), np.ones(len(p), dtype=bool), []
    for _ in range(k):
        rarest = int(positives.argmin())
        chosen.append(int(np.where(left, p[:, rarest], -1).argmax()))
        left[chosen[-1]] = False
        positives[rarest] += max(p[chosen[-1], rarest], EXPECTED)
    return state.candidates[chosen]


def _objectives(state: State, classes: Sequence[int], more: ArrayLike | None) -> np.ndarray:  # [clips, objectives]
    """Put together what is sought, every number from 0, which is reached, to 1."""
    if not len(classes) and more is None:
        raise Misuse("goal has no goal; give classes=[numbers of the classes that are sought], or objectives")
    parts = []
    if len(classes):
        p = state.need("probabilities")
        if outside := [number for number in classes if not 0 <= number < p.shape[1]]:
            raise OscineError(f"goal seeks class {outside[0]}, expected numbers from 0 to {p.shape[1] - 1}")
        parts.append(1 - p[:, list(classes)])
    if more is not None:
        given = np.asarray(more, dtype=np.float64)
        given = given[:, None] if given.ndim == 1 else given
        if given.ndim != 2 or len(given) != len(state.features) or not ((given >= 0) & (given <= 1)).all():
            raise OscineError(
                f"objectives of shape {list(given.shape)}, expected a row of numbers from 0 to 1 for each of "
                f"{len(state.features)} clips"
            )
        parts.append(given)
    return np.concatenate(parts, axis=1)
