"""Settings of a search, and the ranges of the numbers that it looks for, without torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import UnionType
from typing import NamedTuple, Union, get_args, get_origin

from oscine.models.errors import OscineError
from oscine.probe.fit.settings import FitSettings

Ends = tuple[float, float]
FIT, HEAD = "fit", "head"  # sections of a configuration, first in the name of a setting: fit.lr
# The search of arXiv 2509.24901 has lr from 1e-4 to 7e-3, for prototypes from 2e-3 to 8e-2, and weight_decay from 1e-5 to
# 5e-4. Both reach further here, for what other papers set, such as BAT's weight_decay of 0.2, to lie within.
USUAL: dict[str, Ends] = {
    "fit.lr": (1e-4, 8e-2),
    "fit.weight_decay": (1e-5, 0.5),
    "head.dropout": (0.0, 0.5),
    "head.prototype_lr": (2e-3, 8e-2),
    "head.lasso": (1e-6, 1e-2),
}


@dataclass(frozen=True)
class Space:
    """Ranges of numbers to look for; without any, those that are usual for the probe.

    Args:
        fit: ranges of numbers of the fit, such as --search.space.fit.lr "[1e-4, 1e-1]"; without any, the usual ones.
        head: the same of the probe, such as --search.space.head.dropout "[0, 0.5]".
    """

    fit: dict[str, tuple[float, float]] = field(default_factory=dict)
    head: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchSettings:
    """Settings of the search that comes before the probe is judged, for each fold by clips that do not judge it.

    They are its own to choose by, or a fifth of those that it learns from. The probe that is kept of folds has the median of
    what they chose.

    Args:
        trials: how many settings are tried for each fold, the configuration's own first; 0 is no search. A search that was
            stopped or killed goes on with the same call; RUNS/NAME/search holds it.
        sobol: trials that are spread evenly (scrambled Sobol points) before TPE proposes the others.
        space: what is tried.
    """

    trials: int = 0
    sobol: int = 8
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        for name in ("trials", "sobol"):
            if getattr(self, name) < 0:
                raise OscineError(f"search.{name} is {getattr(self, name)}, expected 0 (none) or more")


def check_optuna() -> None:
    """Raise where Optuna, which searches alone need, is not installed."""
    if find_spec("optuna") is None:
        raise OscineError('optuna is not installed; pip install "oscine[search]" brings it')


class Range(NamedTuple):
    """Both ends are within. Of a factor of ten or more, orders of magnitude are equally likely, else numbers are."""

    low: float
    high: float
    whole: bool = False

    @property
    def log(self) -> bool:
        return self.high >= 10 * self.low > 0

    def holds(self, value: object) -> bool:
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def at(self, share: float) -> float:
        """Return the number that lies so far from the low end to the high one; share in [0, 1)."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        found = low * (high / low) ** share if self.log else low + share * (high - low)
        return min(max(round(found) if self.whole else found, self.low), self.high)


def search_space(
    probe: Callable[..., object], fit: Mapping[str, Ends] | None = None, head: Mapping[str, Ends] | None = None
) -> dict[str, Range]:
    """Return ranges by the dotted names of settings, such as fit.lr. Without any of `fit` and `head` those that are usual.

    probe: its class, or that of its settings.
    """
    given = {f"{FIT}.{name}": ends for name, ends in (fit or {}).items()}
    given |= {f"{HEAD}.{name}": ends for name, ends in (head or {}).items()}
    numbers = {f"{FIT}.{name}": whole for name, whole in _numbers(FitSettings).items() if name != "seed"}
    numbers |= {f"{HEAD}.{name}": whole for name, whole in _numbers(probe).items() if name != "classes"}
    for name in given:
        if name not in numbers:
            raise OscineError(f"search.space.{name} is no number of this probe's; choose from {', '.join(numbers)}")
    chosen = given or {name: ends for name, ends in USUAL.items() if name in numbers}
    return {name: _range(name, ends, numbers[name]) for name, ends in chosen.items()}


def _range(name: str, ends: Ends, whole: bool | None) -> Range:
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OscineError(f"search.space.{name} goes from {low:g} to {high:g}, expected a number and a larger one")
    whole = low >= 1 if whole is None else whole
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise OscineError(f"search.space.{name} goes from {low:g} to {high:g}, expected whole numbers")
    return Range(int(low), int(high), True) if whole else Range(float(low), float(high))


def _numbers(of: Callable[..., object]) -> dict[str, bool | None]:
    """Find parameters that are numbers, and whether whole ones; None for shares below 1 or whole numbers from there."""
    found: dict[str, bool | None] = {}
    for name, parameter in inspect.signature(of, eval_str=True).parameters.items():
        hint = parameter.annotation
        kinds = set(get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]) - {type(None)}
        if kinds and kinds <= {int, float}:
            found[name] = None if len(kinds) == 2 else kinds == {int}
    return found
