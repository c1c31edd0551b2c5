"""Choose unlike clips whose predicted class changes when they are mixed with labelled ones: AlfaMix (Parvaneh et al. 2022).

For a linear last map the best mix has a closed form. With the anchor s, the mean feature of a class's labelled clips, and
the gradient G_i = W^T (p_i - the label that it would give), every number of a clip is moved towards the anchor's by

    alpha = eps |s - phi_i| G_i / (|G_i| (s - phi_i))        so that phi_i becomes  phi_i + eps |s - phi_i| G_i / |G_i|

except where the two are equal, which stay.
"""

from __future__ import annotations

import numpy as np

from oscine.probe.label.geometry import distances_to
from oscine.probe.label.state import State
from oscine.probe.label.strategies.badge import errors_at_own_labels
from oscine.probe.label.strategies.dropquery import differ, unlike

EPS = 0.2  # of the anchor's distance, over the root of the number of features


def alfamix(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
    """Choose unlike clips that any anchor changes; fill up at random."""
    return unlike(state, k, generator, among=changed_by_any(state))


def changed_by_any(state: State) -> np.ndarray:
    """Return the candidates, by number, whose predicted class any mix changes."""
    rows, weight = state.of_candidates("features"), state.need("weight")
    logits, towards = rows @ weight.T + state.need("bias"), gradients(state)
    lengths = np.linalg.norm(towards, axis=1, keepdims=True)
    towards = towards / np.where(lengths == 0, 1, lengths)
    moved, changed = towards @ weight.T, np.zeros(len(rows), dtype=bool)
    for anchor in anchors(state):
        step = EPS / np.sqrt(rows.shape[1]) * np.sqrt(distances_to(rows, anchor))[:, None]
        mixed, same = logits + step * moved, rows == anchor
        some = same.any(1)
        mixed[some] = logits[some] + step[some] * ((towards[some] * ~same[some]) @ weight.T)
        changed |= differ(logits, mixed, several=state.several)
    return np.flatnonzero(changed)


def gradients(state: State) -> np.ndarray:  # [candidates, dim]
    """Compute the loss's gradient in each candidate's features.

    The loss is at the label that the probe would give.
    """
    return -errors_at_own_labels(state.of_candidates("probabilities"), state.several) @ state.need("weight")


def anchors(state: State) -> np.ndarray:  # [classes that were seen, dim]
    """Compute the mean feature of every class that was seen."""
    labels = state.labels
    has = labels > 0 if state.several else labels[:, None] == np.unique(labels)
    has = has[:, has.any(0)].astype(float)  # [labelled, classes that were seen]
    return has.T @ state.features[state.labelled] / has.sum(0)[:, None]
