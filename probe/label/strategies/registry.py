"""Find strategies by their names, oscine's and your own, and let one choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from oscine.models.errors import Misuse, OscineError
from oscine.models.plugins.functions import Functions, options_of
from oscine.models.settings_checks import check_settings
from oscine.probe.label.state import State

Strategy = Callable[
    ..., np.ndarray
]  # (state, k, generator, *, its options) -> clips in the order in which they were chosen


class Ours(NamedTuple):
    """A strategy of oscine.

    file: in this folder
    judges: it compares what a probe thinks of clips, which without labels is nothing
    draws: it takes random numbers, so that it may choose otherwise the next time
    reads: the fields of a state that it needs beside features
    """

    file: str
    judges: bool = False
    draws: bool = False
    reads: tuple[str, ...] = ()


P, MAP = ("probabilities",), ("probabilities", "weight", "bias")
OURS = {
    "random": Ours("random", draws=True),
    "margin": Ours("uncertainty", judges=True, reads=P),
    "least_confidence": Ours("uncertainty", judges=True, reads=P),
    "entropy": Ours("uncertainty", judges=True, reads=P),
    "bald": Ours("uncertainty", judges=True, reads=("samples",)),
    "coreset": Ours("coreset"),
    "typiclust": Ours("typiclust", draws=True),
    "probcover": Ours("probcover", draws=True),
    "maxherding": Ours("herding"),
    "uherding": Ours("herding", judges=True, reads=P),
    "badge": Ours("badge", judges=True, draws=True, reads=P),
    "dropquery": Ours("dropquery", judges=True, draws=True, reads=MAP[1:]),
    "alfamix": Ours("alfamix", judges=True, draws=True, reads=MAP),
    "bait": Ours("bait", judges=True, reads=P),
    "refine": Ours("refine", judges=True, draws=True, reads=MAP),
    "adu_mmr": Ours("combined", judges=True, reads=P),
    "goal": Ours("goal", reads=P),
    "seek_rare": Ours("goal", reads=P),
    "half_coreset_half_entropy": Ours("combined", judges=True, reads=P),
    "lci": Ours("uncertainty", judges=True, reads=P),
}
STRATEGIES: Functions[Strategy] = Functions(
    "strategy",
    ("state", "k", "generator"),
    "oscine.probe.label.strategies",
    {name: ours.file for name, ours in OURS.items()},
    unlisted=["lci"],  # never as good as others where it was measured
)


def list_strategies() -> list[str]:
    """Return the names of all strategies, those that were registered last."""
    return [*STRATEGIES]


def register_strategy(strategy: Strategy) -> Strategy:
    """Make a strategy of your own known by its function's name.

    Also as a decorator of the function. It takes a `State`, how many clips to choose and a generator of numpy's; its options
    come by name and have defaults. It returns the numbers of that many different candidates. A name that another strategy
    has is an error.
    """
    return STRATEGIES.register(strategy)


def needs(name: str) -> tuple[str, ...]:
    """Return the fields that a strategy of oscine reads beside features.

    While nothing is labelled it may do without.
    """
    return OURS[name].reads if name in OURS else ()


def choose(name: str, state: State, k: int, generator: np.random.Generator, **options: Any) -> np.ndarray:
    """Let a strategy choose k candidates, or all where there are fewer.

    Returns clips in the order of its choice. Strategies that compare what a probe thinks choose by TypiClust while nothing
    is labelled.
    name: of `list_strategies()`, or module:function of a plugin. options: of that strategy, by name.
    """
    strategy = STRATEGIES[name]
    if (known := options_of(strategy)) is not None:
        _check_options(name, options, known)
    if isinstance(k, bool) or int(k) != k or k < 1:
        raise OscineError(f"k is {k}, expected the number of clips to choose, 1 or more")
    k = min(int(k), len(state.candidates))
    if not k:
        return state.candidates.copy()
    if name in OURS and _blind(OURS[name], state):
        strategy, options = STRATEGIES["typiclust"], {}
    chosen = np.asarray(strategy(state, k, generator, **options))
    if len(chosen) != k or len(np.unique(chosen)) != k or not np.isin(chosen, state.candidates).all():
        raise OscineError(f"the strategy {name} chose {chosen.tolist()}, expected {k} different candidates")
    return chosen.astype(np.int64)


def _check_options(name: str, options: dict[str, Any], known: set[str]) -> None:
    if known:
        check_settings(name, options, known)
    elif options:
        raise Misuse(f"{name} has no setting {', '.join(options)}; it has none")


def _blind(ours: Ours, state: State) -> bool:
    """Whether a strategy would have nothing to go by."""
    without = [field for field in ours.reads if getattr(state, field) is None]
    return not len(state.labelled) and bool(ours.judges or without)
