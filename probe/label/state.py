"""What strategies know when they choose the clips to label next."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from oscine.models.errors import OscineError

OFF = 1e-4  # how far from 1 a clip's probabilities may sum to: float32 over thousands of classes misses it by less


@dataclass(frozen=True)
class State:
    """Everything that a strategy may look at. Clips are numbered in the whole table.

    features       [clips, dim]: the input of the probe's last linear map, standardised over all clips
    probabilities  [clips, classes] of the probe; None before there is one
    labelled       [labelled]: the clips that have labels
    labels         [labelled] numbers of classes; with several labels a clip [labelled, classes] of 0 to 1, NaN where a class
                   was not asked for or the annotator is unsure
    candidates     [candidates]: the clips to choose from, none of them labelled; here they rise
    several        whether a clip may have several labels, or none
    weight, bias   [classes, dim] and [classes] of the probe's last linear map, for DropQuery and AlfaMix
    samples        [clips, draws, classes]: logits drawn from the posterior, for BALD
    """

    features: np.ndarray
    probabilities: np.ndarray | None
    labelled: np.ndarray
    labels: np.ndarray
    candidates: np.ndarray
    several: bool = False
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    samples: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, shape in SHAPES.items():
            if getattr(self, name) is not None:
                self._set(name, _numbers(name, getattr(self, name), shape))
        for name in ("labelled", "candidates"):
            self._set(name, _clips(name, getattr(self, name), len(self.features)))
        self._set("candidates", np.sort(self.candidates))
        if len(both := np.intersect1d(self.labelled, self.candidates)):
            raise OscineError(f"clip {both[0]} is labelled and a candidate; only clips without labels are candidates")
        if self.probabilities is not None:
            _check_probabilities(self.probabilities, self.several)
        _check_sizes(self)
        self._set("labels", (_rows_of_labels if self.several else _labels)(self.labels, self.labelled, self.classes))

    @property
    def classes(self) -> int | None:
        """How many classes there are; None where nothing says it."""
        for one, axis in ((self.probabilities, 1), (self.weight, 0), (self.samples, 2)):
            if one is not None:
                return one.shape[axis]
        return self.labels.shape[1] if self.several and np.ndim(self.labels) == 2 else None

    @property
    def positives(self) -> np.ndarray:
        """Count the labelled clips of every class: [classes]."""
        if self.several:
            return np.nansum(self.labels, axis=0)
        return np.bincount(self.labels, minlength=self.classes or 0).astype(float)

    def need(self, name: str) -> np.ndarray:
        """Return a field, or raise where it was not given."""
        if (value := getattr(self, name)) is None:
            raise OscineError(f"the state has no {name}, which this strategy needs; give State(..., {name}=...)")
        return value

    def of_candidates(self, name: str) -> np.ndarray:
        """Return the rows of a field that are the candidates'."""
        return self.need(name)[self.candidates]

    def among(self, candidates: np.ndarray) -> State:
        """Return the same with other candidates, which are some of its own."""
        other = copy(self)  # without the checks, which look at every number
        other._set("candidates", np.sort(candidates))
        return other

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


SHAPES = {
    "features": ("clips", "dim"),
    "probabilities": ("clips", "classes"),
    "weight": ("classes", "dim"),
    "bias": ("classes",),
    "samples": ("clips", "draws", "classes"),
}


def _numbers(name: str, given: ArrayLike, shape: tuple[str, ...]) -> np.ndarray:
    """Return an array in float64, of a shape and finite, or raise."""
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != len(shape):
        raise OscineError(f"{name} of shape {list(values.shape)}, expected [{', '.join(shape)}]")
    finite = np.isfinite(values)
    if not finite.all():
        row = np.argwhere(~finite)[0]
        what = "clip" if shape[0] == "clips" else "class"
        raise OscineError(f"{name} of {what} {row[0]} have {values[tuple(row)]:g}, expected finite numbers")
    return values


def _clips(name: str, given: ArrayLike, count: int) -> np.ndarray:
    """Return numbers of clips, each in the table and once, or raise."""
    values = np.asarray(given)
    clips = values.astype(np.int64)
    if values.ndim != 1 or values.dtype == bool or (clips != values).any():
        raise OscineError(
            f"{name} is {values.dtype} of shape {list(values.shape)}, expected a list of numbers of clips"
        )
    if len(outside := clips[(clips < 0) | (clips >= count)]):
        raise OscineError(f"clip {outside[0]} in {name} is not in the table, whose {count} clips count from 0")
    numbers, times = np.unique(clips, return_counts=True)
    if (times > 1).any():
        raise OscineError(f"clip {numbers[times.argmax()]} is {times.max()} times in {name}, expected once")
    return clips


def _check_probabilities(p: np.ndarray, several: bool) -> None:
    """Refuse what are no probabilities, or with one label no distribution."""
    if len(outside := np.argwhere((p < 0) | (p > 1))):
        clip, label = outside[0]
        raise OscineError(f"probability {p[clip, label]:g} of clip {clip} for class {label}, expected 0 to 1")
    if several:
        return
    if p.shape[1] < 2:
        raise OscineError("probabilities of 1 class, expected 2 or more; several=True tells present from absent")
    sums = p.sum(1)
    if len(off := np.flatnonzero(abs(sums - 1) > OFF)):
        raise OscineError(
            f"probabilities of clip {off[0]} sum to {sums[off[0]]:g}, expected 1; several=True says that a clip may have "
            "several labels"
        )


def _labels(given: ArrayLike, labelled: np.ndarray, classes: int | None) -> np.ndarray:
    """Return one number of a class a labelled clip: [labelled]."""
    values = np.asarray(given)
    if values.shape != labelled.shape:
        raise OscineError(
            f"labels of shape {list(values.shape)} for {len(labelled)} labelled clips, expected [{len(labelled)}]: a number "
            "of a class each; several=True has rows of 0 and 1"
        )
    labels = values.astype(np.int64)
    if len(wrong := np.flatnonzero((labels != values) | (labels < 0) | (labels >= (classes or np.inf)))):
        known = f"below {classes}" if classes else "of 0 or more"
        raise OscineError(
            f"label {values[wrong[0]]} of clip {labelled[wrong[0]]}, expected the number of a class {known}"
        )
    return labels


def _rows_of_labels(given: ArrayLike, labelled: np.ndarray, classes: int | None) -> np.ndarray:
    """Return which classes every labelled clip has: [labelled, classes]."""
    values = np.asarray(given, dtype=np.float64)
    if not len(labelled) and values.size == 0 and values.ndim < 2:
        values = values.reshape(0, classes or 0)
    if values.ndim != 2 or len(values) != len(labelled) or values.shape[1] != (classes or values.shape[1]):
        raise OscineError(
            f"labels of shape {list(values.shape)} for {len(labelled)} labelled clips, expected "
            f"[{len(labelled)}, {classes or 'classes'}]: a row of 0 and 1 each"
        )
    if len(wrong := np.argwhere((values < 0) | (values > 1))):
        row, label = wrong[0]
        raise OscineError(
            f"label {values[row, label]:g} of clip {labelled[row]} for class {label}, expected 0 to 1, or NaN where unknown"
        )
    return values


def _check_sizes(state: State) -> None:
    """Refuse fields that disagree about clips, numbers or classes."""
    sizes: dict[str, int] = {}
    for name, shape in SHAPES.items():
        if (value := getattr(state, name)) is None:
            continue
        for what, size in zip(shape, value.shape):
            if what != "draws" and sizes.setdefault(what, size) != size:
                raise OscineError(f"{name} of shape {list(value.shape)}, expected {sizes[what]} {what}")
