"""Let several strategies propose clips, round after round, and choose among these: REFINE (arXiv 2511.22344)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oscine.models.errors import Misuse
from oscine.probe.label.state import State
from oscine.probe.label.strategies.registry import OURS, choose

PROPOSALS = 100  # a round, of all members
FIRST, MOST = 5000, 10_000  # clips that a member chooses from at first; that a round may keep
# As published, of which UHerding is also the last step; with several labels a clip what was measured there.
MEMBERS = {
    False: (
        "random", "margin", "badge", "bait", "typiclust", "alfamix", "dropquery", "maxherding", "uherding",
    ),
    True: ("entropy", "coreset"),
}  # fmt: skip


def refine(
    state: State,
    k: int,
    generator: np.random.Generator,
    *,
    members: Sequence[str] | None = None,
    rounds: int = 5,
    draws: int | None = None,
    alpha: float = 0.4,
) -> np.ndarray:
    """Choose by UHerding among the clips that are left after some rounds of proposals.

    members: strategies that propose; None takes the published nine, or with several labels entropy and CoreSet
    rounds: how often only what was proposed is left to propose from
    draws: how often each member is asked in a round; None asks all of them 100 times together
    alpha: share of what is left that a member is shown in the next round
    """
    members = MEMBERS[state.several] if members is None else members
    draws = PROPOSALS // max(1, len(members)) if draws is None else draws
    _check(members, rounds=rounds, draws=draws, alpha=alpha)
    left, size = state.candidates, FIRST
    for _ in range(rounds):
        left = proposed(state.among(left), k, generator, members=members, draws=draws, size=size)
        size = max(k, int(alpha * len(left)))
    return choose("uherding", state.among(left), k, generator)


def proposed(
    state: State, k: int, generator: np.random.Generator, *, members: Sequence[str], draws: int, size: int
) -> np.ndarray:
    """Return all clips that members choose, 10,000 at most.

    Each chooses some times k of another draw of candidates. A member that draws nothing itself would choose the same from
    all candidates every time; it is asked once.
    """
    chosen = []
    for member in members:
        again = size < len(state.candidates) or member not in OURS or OURS[member].draws
        for _ in range(draws if again else 1):
            shown = generator.choice(state.candidates, min(size, len(state.candidates)), replace=False)
            chosen.append(choose(member, state.among(shown), k, generator))
    left = np.unique(np.concatenate(chosen))
    return left if len(left) <= MOST else np.sort(generator.choice(left, MOST, replace=False))


def _check(members: Sequence[str], *, rounds: int, draws: int, alpha: float) -> None:
    """Refuse what would propose nothing, and a member that asks for itself."""
    if isinstance(members, str) or not members or "refine" in members:
        raise Misuse(f"members of refine are {members!r}, expected a list of other strategies")
    if rounds < 1 or draws < 1 or not 0 < alpha <= 1:
        raise Misuse(
            f"refine with rounds {rounds}, draws {draws}, alpha {alpha:g}; expected 1 or more, 1 or more, and above 0 to 1"
        )
