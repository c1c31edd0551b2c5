"""Choose a batch of clips to ask for: most by a strategy, some at random to judge by."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from oscine.models.errors import OscineError
from oscine.probe.label.loop.audit import next_of_order
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.learner import Labels, Learnt
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.state import State
from oscine.probe.label.strategies.initial import default_strategy
from oscine.probe.label.strategies.registry import STRATEGIES, choose

MOST = 10_000  # clips that a strategy chooses among: of more, as many are drawn for every batch
SAMPLES = 50  # draws of logits from the posterior, for BALD
MOST_SAMPLES = (
    2**26
)  # of these numbers at once, over clips and classes: 512 MB; with many classes fewer clips are drawn


class Chosen(NamedTuple):
    """A clip that is to be asked for: its number in the table, and how it came to be."""

    number: int
    strategy: str
    batch: int = 0
    audit: bool = False
    again: bool = False


class Knowledge(NamedTuple):
    """What a batch is chosen by.

    labels, learnt  so far, and from them
    candidates      the clips that may be asked for
    shares          [clips, classes]: what another probe says of every clip, in place of what was learnt
    """

    labels: Labels
    learnt: Learnt | None
    candidates: list[int]
    shares: np.ndarray | None = None

    @property
    def blind(self) -> bool:
        """Whether nothing says yet how classes differ."""
        return self.learnt is None and self.shares is None


def strategy_of(settings: LoopSettings, knowledge: Knowledge) -> str:
    """Return the strategy that chooses now: until there is something to tell apart, the one for the initial set."""
    default = default_strategy(not settings.one_label)
    return default.initial if knowledge.blind else settings.strategy or default.strategy


def chosen_by(settings: LoopSettings, *, blind: bool) -> str:
    """Say what chooses clips, and why where nobody has named it. blind: whether there is nothing to tell apart yet."""
    default = default_strategy(not settings.one_label)
    later = settings.strategy or f"{default.strategy} ({default.reason})"
    return f"{default.initial} until there is something to tell apart, then {later}" if blind else later


def choose_batch(
    table: ClipTable, knowledge: Knowledge, settings: LoopSettings, *, order: np.ndarray, batch: int
) -> list[Chosen]:
    """Choose `settings.batch` clips, or all that are left. order: of audit clips; batch: the number of this one.

    Clips to judge by stand at random places among the others.
    """
    generator = np.random.default_rng([settings.seed, batch])
    for_audit = _audit_count(settings, batch)
    allowed = {*knowledge.candidates}
    passed = set(range(len(table.clips))) - allowed
    audit = [number for number, _ in zip(next_of_order(order, passed), range(for_audit))]
    name = strategy_of(settings, knowledge)
    left = np.array(sorted(allowed - {*audit}), dtype=np.int64)
    wanted = min(settings.batch - len(audit), len(left))
    picked = _pick(table, knowledge, left, name, wanted, generator) if wanted > 0 else []
    chosen = [Chosen(number, name, batch) for number in picked]
    for number in audit:
        chosen.insert(int(generator.integers(len(chosen) + 1)), Chosen(number, name, batch, audit=True))
    return chosen


def _audit_count(settings: LoopSettings, batch: int) -> int:
    """Return how many clips of a batch are audit clips, so that all batches together have the share of them.

    It is rounded up, so that the first batch has one, however small it is.
    """
    whole = settings.audit * settings.batch
    return int(np.ceil((batch + 1) * whole - 1e-9) - np.ceil(batch * whole - 1e-9))


def _pick(
    table: ClipTable, knowledge: Knowledge, left: np.ndarray, name: str, count: int, generator: np.random.Generator
) -> list[int]:
    """Let a strategy choose among the clips that are left, or among a draw of them."""
    labels, shares = knowledge.labels, knowledge.shares
    most = MOST
    if name == "bald":
        most = max(count, min(MOST, MOST_SAMPLES // (SAMPLES * labels.targets.shape[1])))
    if len(left) > most:
        left = np.sort(generator.choice(left, most, replace=False))
    learnt = knowledge.learnt if shares is None else None
    rows = np.concatenate([labels.clips, left])
    features = table.rows[rows].astype(np.float64)
    labelled = np.arange(len(labels.clips))
    state = State(
        features,
        learnt.probabilities(features) if learnt else shares if shares is None else shares[rows],
        labelled,
        labels.numbers if labels.one_label else labels.targets,
        np.arange(len(labels.clips), len(rows)),
        several=not labels.one_label,
        weight=learnt.weight if learnt else None,
        bias=learnt.bias if learnt else None,
        samples=learnt.posterior.samples(features, SAMPLES, generator) if learnt and name == "bald" else None,
    )
    # Without labels `choose` takes no account of probabilities, which here another probe has given.
    pick = partial(choose, name) if shares is None else STRATEGIES[name]
    return [int(rows[number]) for number in pick(state, count, generator)]


def check_strategy(name: str) -> None:
    """Raise where there is no such strategy, or it needs more than it gets here; "" is the default one."""
    if name:
        STRATEGIES.check(name)
    if name == "goal":
        raise OscineError("goal needs the classes that are sought, which this command does not take; take seek_rare")
