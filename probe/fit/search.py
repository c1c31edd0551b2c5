"""A search for the settings that do best on rows to choose by: those that were given, Sobol points, then TPE's proposals."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.quasirandom import SobolEngine

from oscine.models.audio.load import AudioError
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import check_fields, read_json
from oscine.models.locks import lock_exclusive
from oscine.probe.fit.search_space import Range, check_optuna
from oscine.probe.tasks.task import Part

if TYPE_CHECKING:
    import optuna

JOURNAL, LOCK = "trials.json", "lock"

logger = logging.getLogger(__name__)

Settings = dict[str, float]  # by dotted names, such as fit.lr


class Tried(NamedTuple):
    """Settings, and what they came to on rows to choose by, or why they came to nothing."""

    settings: Settings
    value: float | None
    failure: str | None = None


FIELDS = {"record": dict[str, Any], "trials": list[dict[str, Any]]}  # of the journal
TRIED = {"settings": dict[str, Any], "value": float | None, "failure": str | None}


@dataclass(frozen=True)
class Search:
    """What was tried for a part of a task, in its order. metric: the one of `Metrics` that is the value."""

    metric: str
    space: Mapping[str, Range]
    tried: list[Tried]

    @property
    def best(self) -> int:
        """The number of the best trial; of equally good ones the first."""
        values = [-math.inf if one.value is None else one.value for one in self.tried]
        return values.index(max(values))

    @property
    def chosen(self) -> Settings:
        return self.tried[self.best].settings

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "metric": self.metric,
            "space": {name: [ends.low, ends.high] for name, ends in self.space.items()},
            "trials": [one._asdict() | {"state": "failed" if one.failure else "complete"} for one in self.tried],
            "best": self.best,
            "chosen": self.chosen,
        }


def blind(part: Part) -> Part:
    """A part as a search sees it: judged on its own rows to choose by; those that will be judged are left out."""
    return Part(part.name, part.train, part.valid, part.valid)


def search(
    space: Mapping[str, Range],
    evaluate: Callable[[Settings], float],
    metric: str,
    folder: Path,
    record: Mapping[str, Any],
    trials: int,
    sobol: int = 8,
    seed: int = 0,
    given: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[..., None] = lambda done, total, note: None,
) -> Search:
    """Try so many settings in the ranges of `space`; evaluate: the value of some, larger is better.

    The first are those of `given`, where they lie within the space; then come so many points of a scrambled Sobol sequence,
    and then proposals of TPE, which learns from all before. What is tried depends on the seed and the values alone.

    folder: keeps the finished trials, with which the same call goes on, also after a kill; record: what the values depend
    on, for JSON: another one is refused, or starts anew if told to overwrite.
    Settings that raise an OscineError or a ValueError, or are too much for the memory, or whose value is not finite, have
    failed; error if all have.
    """
    need_optuna()
    folder.mkdir(parents=True, exist_ok=True)
    journal, known = folder / JOURNAL, given or {}
    with lock_exclusive(folder / LOCK, f"searching in {folder}", "choose another --name"):
        content = json.loads(json.dumps(record, default=str))
        tried = _read(journal, content, overwrite)
        own = {name: known[name] for name, ends in space.items() if ends.holds(known.get(name))}
        planned = [own] * (len(own) == len(space)) + _sobol_points(space, sobol, seed)
        while (number := len(tried)) < trials:
            progress(number, trials, _best_value(tried))
            tried.append(_try(evaluate, planned[number] if number < len(planned) else _propose(space, tried, seed)))
            finished = {"record": content, "trials": [one._asdict() for one in tried]}
            write_whole(journal, (json.dumps(finished, indent=2) + "\n").encode())
        progress(trials, trials, _best_value(tried))
    tried = tried[:trials]
    if all(one.failure for one in tried):
        raise OscineError(f"all {trials} trials failed, the last one since {tried[-1].failure}")
    return Search(metric, space, tried)


def need_optuna() -> Any:
    """Optuna, which is asked for by nothing else and speaks up only for warnings."""
    check_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _read(journal: Path, record: dict[str, Any], overwrite: bool) -> list[Tried]:
    """The finished trials of a search that goes on; none of one that begins."""
    if not journal.exists():
        return []
    anew = "--overwrite starts anew"
    try:
        content = check_fields(read_json(journal, anew), FIELDS, journal, anew)
        tried = [Tried(**check_fields(one, TRIED, journal, anew)) for one in content["trials"]]
    except OscineError:
        if overwrite:
            return []
        raise
    before = content["record"]
    differ = [name for name in {**before, **record} if before.get(name) != record.get(name)]
    if differ and not overwrite:
        raise OscineError(
            f"{journal.parent} is a search with other {', '.join(differ)}; call it as then to go on, --overwrite starts "
            "anew, --name X another"
        )
    return [] if differ else tried


def _sobol_points(space: Mapping[str, Range], count: int, seed: int) -> list[Settings]:
    if not count:
        return []
    points = SobolEngine(len(space), scramble=True, seed=seed).draw(count, dtype=torch.float64)
    return [{name: ends.at(share) for (name, ends), share in zip(space.items(), point)} for point in points.tolist()]


def _propose(space: Mapping[str, Range], tried: Sequence[Tried], seed: int) -> Settings:
    """By TPE, from the finished trials and a seed of its own: no state is lost with a process."""
    optuna = need_optuna()
    own = int(np.random.SeedSequence([seed, len(tried)]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(n_startup_trials=1, seed=own))
    ranges = {name: _distribution(ends) for name, ends in space.items()}
    failed, complete = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE
    for one in tried:
        state = failed if one.failure else complete
        study.add_trial(
            optuna.trial.create_trial(state=state, params=one.settings, distributions=ranges, value=one.value)
        )
    return study.ask(ranges).params


def _distribution(ends: Range) -> optuna.distributions.BaseDistribution:
    distributions = need_optuna().distributions
    kind = distributions.IntDistribution if ends.whole else distributions.FloatDistribution
    return kind(ends.low, ends.high, log=ends.log)


def _try(evaluate: Callable[[Settings], float], settings: Settings) -> Tried:
    value, failure = math.nan, "its value is not a number"
    try:
        value = evaluate(settings)
    except AudioError:  # the disk's fault, not the settings': the same call goes on when it can be read again
        raise
    except (OscineError, ValueError, torch.OutOfMemoryError) as error:  # torch's own, such as for a dropout of 2
        failure = str(error).partition("\n")[0]
    if math.isfinite(value):
        return Tried(settings, value)
    logger.warning("a trial with %s failed: %s", _text(settings), failure)
    return Tried(settings, None, failure)


def _best_value(tried: Sequence[Tried]) -> str:
    values = [one.value for one in tried if one.value is not None]
    return f"best {max(values):.3f}" if values else ""


def _text(settings: Settings) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in settings.items())
