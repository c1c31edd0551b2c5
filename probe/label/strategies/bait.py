"""Choose the clips that teach the probe's last map most about all clips: BAIT (Ash et al. 2021), Fast Fishing's forms.

I_i is the Fisher information of clip i at the last map. The batch B is to make tr(M^-1 F) small, with F the sum of I over
all clips and M = lambda 1 + s_Q sum_labelled I + s_B sum_B I. As I_i = V_i^T V_i has no more than the classes' rank,
all that is needed of a clip are small matrices:

    inner  S_i = X_i A X_i^T        X_i = sqrt(s_B) V_i,  A = M^-1
    outer  T_i = X_i A F A X_i^T

2k clips are taken by the largest tr[T (1 + S)^-1], then those that matter least are dropped until k are left. Both change A
by a product of the clip's rank, and with it every S and T; A itself is never multiplied by all clips again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from oscine.models.errors import Misuse, OscineError
from oscine.probe.label.fisher import Factors, binary, exact, one_class, pooled, top_classes
from oscine.probe.label.geometry import first_largest
from oscine.probe.label.state import State

WIDEST = 4000  # of M: 128 MB, of which three are kept
MOST_BLOCKS = 2**25  # numbers in all classes' M: 256 MB
MOST_PAIRS = 2**24  # clips times pairs of classes: 128 MB, of which about five are kept at once


class Weighting(NamedTuple):
    """How much a labelled clip, a new one and any clip count in M and F."""

    labelled: float
    new: float
    all: float


# of L labelled clips, k new ones and n clips in all
WEIGHTINGS: dict[str, Callable[[int, int, int], Weighting]] = {
    "mean": lambda labelled, k, clips: Weighting(1 / (labelled + k), k / (labelled + k), 1 / clips),  # as published
    "sum": lambda labelled, k, clips: Weighting(
        labelled / (labelled + k), k / (labelled + k), 1.0
    ),  # Fast Fishing's runs
    "plain": lambda labelled, k, clips: Weighting(1.0, 1.0, 1.0),  # as the paper writes it
}
# by whether a clip may have several labels: the name of a form to the signs of its factors, a list of independent blocks
FORMS: dict[bool, dict[str, Callable[[np.ndarray, int], list[np.ndarray]]]] = {
    False: {
        "binary": lambda p, top: [binary(p)],
        "top": lambda p, top: [top_classes(p, top)],
        "exact": lambda p, top: [exact(p)],
    },
    True: {
        "pooled": lambda p, top: [pooled(p)],
        "blocks": lambda p, top: [one_class(of_class) for of_class in p.T],
    },
}


class Batch:
    """A batch that grows and shrinks: A, F and every clip's S and T, of one Fisher information.

    factors: of the candidates; information: F and M without new clips, both [dim, dim]
    """

    def __init__(self, factors: Factors, information: tuple[np.ndarray, np.ndarray], scale: float) -> None:
        fisher, precision = information
        self.factors = Factors(np.sqrt(scale) * factors.signs, factors.rows)
        self.fisher, self.inverse = fisher, np.linalg.inv(precision)
        self.inner = self.factors.inside(self.inverse)
        self.outer = self.factors.inside(self.inverse @ self.fisher @ self.inverse)

    def gains(self, sign: int) -> np.ndarray:  # [clips]
        """Compute what taking (sign 1) or keeping (-1) every clip takes off the objective."""
        rank = self.inner.shape[1]
        return np.trace(np.linalg.solve(np.eye(rank) + sign * self.inner, self.outer), axis1=1, axis2=2)

    def change(self, clip: int, sign: int) -> None:
        """Take (sign 1) or drop (-1) a clip."""
        x = self.factors.of(np.array([clip]))
        own = (x.signs[0][:, :, None] * x.rows[0]).reshape(-1, self.factors.dim)  # [rank, dim]
        step = self.inverse @ own.T  # A X^T
        middle = np.linalg.inv(sign * np.eye(len(own)) + own @ step)
        along = self.factors.times(np.concatenate([step, self.inverse @ (self.fisher @ step)], axis=1))
        inner, outer = along[:, :, : len(own)] @ middle, along[:, :, len(own) :]
        cross = outer @ inner.transpose(0, 2, 1)
        self.outer += (
            inner @ (step.T @ self.fisher @ step) @ inner.transpose(0, 2, 1) - cross - cross.transpose(0, 2, 1)
        )
        self.inner -= inner @ along[:, :, : len(own)].transpose(0, 2, 1)
        self.inverse -= step @ middle @ step.T

    def only(self, clips: np.ndarray) -> None:
        """Forget all clips but these."""
        self.factors, self.inner, self.outer = self.factors.of(clips), self.inner[clips], self.outer[clips]


def bait(
    state: State,
    k: int,
    generator: np.random.Generator,
    *,
    form: str | None = None,
    top: int = 2,
    weighting: str = "mean",
    ridge: float = 1.0,
) -> np.ndarray:
    """Choose clips by the Fisher information of the probe's last map.

    A strongly penalised probe tells it nothing.
    form: one label a clip: "binary" (likeliest class or not; unless told), "top" (the `top` likeliest classes) or "exact";
    several labels: "pooled" (summed over classes; unless told) or "blocks" (each class by itself)
    weighting: how labelled and new clips count, "mean", "sum" or "plain"
    ridge: lambda; what matters is how large it is beside |phi|^2 p (1 - p)
    """
    form = form or next(iter(FORMS[state.several]))
    _check(state, form, weighting, top=top, ridge=ridge)
    found = batches(state, k, form, weighting=weighting, top=top, ridge=ridge)
    return state.candidates[forward_and_back(found, k, len(state.candidates))]


def batches(state: State, k: int, form: str, *, weighting: str, top: int, ridge: float) -> list[Batch]:
    """Return an empty batch of each independent block. Arguments as of `bait`."""
    labelled, clips = len(state.labelled), np.concatenate([state.labelled, state.candidates])
    weights = WEIGHTINGS[weighting](labelled, k, len(clips))
    p, rows = state.need("probabilities")[clips], state.features[clips]
    found = []
    for signs in FORMS[state.several][form](p, top):
        every = Factors(signs, rows)
        known, new = every.of(slice(None, labelled)), every.of(slice(labelled, None))
        of_labelled, of_new = known.information(), new.information()
        precision = ridge * np.eye(every.dim) + weights.labelled * of_labelled
        found.append(Batch(new, (weights.all * (of_labelled + of_new), precision), weights.new))
    return found


def forward_and_back(batches: list[Batch], k: int, clips: int) -> np.ndarray:
    """Take 2k clips one by one, drop until k are left.

    Each is the best, or the least, when it is taken or dropped; gains add up over batches.
    """
    taken: list[int] = []
    for _ in range(min(2 * k, clips)):
        gains = np.sum([batch.gains(1) for batch in batches], axis=0)
        gains[taken] = -np.inf
        taken.append(first_largest(gains))
        for batch in batches:
            batch.change(taken[-1], 1)
    left = np.array(taken)
    for batch in batches:
        batch.only(left)
    while len(left) > k:
        gains = np.sum([batch.gains(-1) for batch in batches], axis=0)
        last = np.argsort(-left)  # of equal ones the highest number goes
        worst = last[first_largest(-gains[last])]
        keep = np.delete(np.arange(len(left)), worst)
        for batch in batches:
            batch.change(worst, -1)
            batch.only(keep)
        left = left[keep]
    return left


def _check(state: State, form: str, weighting: str, *, top: int, ridge: float) -> None:
    """Refuse what there is not, and what would not fit into memory."""
    forms = FORMS[state.several]
    for name, value, known in (("form", form, forms), ("weighting", weighting, WEIGHTINGS)):
        if value not in known:
            raise Misuse(f"{name} of bait is {value!r}, expected one of {', '.join(known)}")
    if top < 1 or ridge <= 0:
        raise Misuse(f"top of bait is {top} and ridge {ridge:g}, expected 1 or more and above 0")
    classes, dim = state.need("probabilities").shape[1], state.features.shape[1]
    if form in ("exact", "top") and classes * dim > WIDEST:
        raise OscineError(
            f"bait's form {form} needs {classes} classes x {dim} features, {WIDEST} at most; form='binary' has no such limit"
        )
    clips = len(state.labelled) + len(state.candidates)
    if form in ("exact", "top") and clips * classes**2 > MOST_PAIRS:
        raise OscineError(
            f"bait's form {form} needs {classes} x {classes} numbers of each of {clips} clips, {MOST_PAIRS} at most; "
            "form='binary' needs one"
        )
    if form == "blocks" and classes * dim**2 > MOST_BLOCKS:
        raise OscineError(
            f"bait's form blocks needs {classes} matrices of {dim} x {dim}, {MOST_BLOCKS} numbers at most; "
            "form='pooled' needs one"
        )
