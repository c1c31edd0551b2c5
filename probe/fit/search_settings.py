"""The settings of a search for settings, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

from oscine.models.errors import OscineError


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
    """Look for settings before the probe is judged, for each fold by clips that do not judge it.

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
