"""Search the settings that do best on rows to choose by: those given, Sobol points, then TPE's proposals."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.quasirandom import SobolEngine

from oscine.models.audio.load import AudioError
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import check_fields, check_same_settings, differences, read_json
from oscine.models.locks import lock_exclusive
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.fit.search_space import Range, check_optuna
from oscine.probe.tasks.task import Part

JOURNAL, LOCK = "trials.json", "lock"

logger = logging.getLogger(__name__)

Settings = dict[str, float]  # by dotted names, such as fit.lr


class Trial(NamedTuple):
    """Settings, and their value on rows to choose by, or why they have none."""

    settings: Settings
    value: float | None
    failure: str | None = None


FIELDS = {"record": dict[str, Any], "trials": list[dict[str, Any]]}  # of the journal
TRIED = {"settings": dict[str, Any], "value": float | None, "failure": str | None}


@dataclass(frozen=True)
class Search:
    """All trials for a part of a task, in their order. metric: the one of `Metrics` that is the value."""

    metric: str
    space: Mapping[str, Range]
    tried: list[Trial]

    @property
    def best(self) -> int:
        """Return the number of the best trial; of equally good ones the first."""
        values = [-math.inf if one.value is None else one.value for one in self.tried]
        return values.index(max(values))

    @property
    def chosen(self) -> Settings:
        return self.tried[self.best].settings

    def as_dict(self) -> dict[str, Any]:
        """Describe for JSON."""
        return {
            "metric": self.metric,
            "space": {name: [ends.low, ends.high] for name, ends in self.space.items()},
            "trials": [one._asdict() | {"state": "failed" if one.failure else "complete"} for one in self.tried],
            "best": self.best,
            "chosen": self.chosen,
        }


def validation_view(part: Part) -> Part:
    """Return a part as a search sees it: judged on its own rows to choose by; those that will be judged are left out."""
    return Part(part.name, part.train, part.valid, part.valid)


@dataclass(frozen=True)
class SearchPlan:
    """The trials that a search makes, and what their values depend on.

    space      ranges of the settings, by their names
    metric     the one of `Metrics` that is the value
    record     what the values depend on, for JSON: another one than before is refused, or starts anew if told to overwrite
    sobol      of all trials, those of a scrambled Sobol sequence
    given      the configuration's own settings, which are tried first where they lie within the space
    """

    space: Mapping[str, Range]
    metric: str
    record: Mapping[str, Any]
    trials: int
    sobol: int = 8
    seed: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False


def search(
    evaluate: Callable[[Settings], float],
    plan: SearchPlan,
    folder: Path,
    progress: ShowProgress = show_nothing,
) -> Search:
    """Look for the settings of which `evaluate` gives the highest value, and return all that were tried.

    The given ones come first, then points of the Sobol sequence, and then proposals of TPE, which learns from all before.
    What is tried depends on the seed and the values alone. folder: keeps the finished trials, with which the same call goes
    on, also after a kill. Settings that raise an OscineError or a ValueError, or are too much for the memory, or whose value
    is not finite, have failed; error if all have.
    """
    require_optuna()
    folder.mkdir(parents=True, exist_ok=True)
    journal, space, trials = folder / JOURNAL, plan.space, plan.trials
    with lock_exclusive(folder / LOCK, f"searching in {folder}", "choose another --name"):
        content = json.loads(json.dumps(plan.record, default=str))
        tried = _read(journal, content, plan.overwrite)
        own = {name: plan.given[name] for name, ends in space.items() if ends.holds(plan.given.get(name))}
        planned = [own] if len(own) == len(space) else []
        if plan.sobol:
            points = SobolEngine(len(space), scramble=True, seed=plan.seed).draw(plan.sobol, dtype=torch.float64)
            planned += [{name: space[name].at(share) for name, share in zip(space, point)} for point in points.tolist()]
        while (number := len(tried)) < trials:
            progress(number, trials, _best_value(tried))
            proposed = planned[number] if number < len(planned) else _propose(space, tried, plan.seed)
            tried.append(_try(evaluate, proposed))
            finished = {"record": content, "trials": [one._asdict() for one in tried]}
            write_whole(journal, (json.dumps(finished, indent=2) + "\n").encode())
        progress(trials, trials, _best_value(tried))
    tried = tried[:trials]
    if all(one.failure for one in tried):
        raise OscineError(f"all {trials} trials failed, the last one since {tried[-1].failure}")
    return Search(plan.metric, space, tried)


def require_optuna() -> Any:
    """Import Optuna, which nothing else needs, and let it log warnings only."""
    check_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _read(journal: Path, record: dict[str, Any], overwrite: bool) -> list[Trial]:
    """Read the finished trials of a search that goes on; none of one that begins."""
    if not journal.exists():
        return []
    anew = "--overwrite starts anew"
    try:
        content = check_fields(read_json(journal, anew), FIELDS, journal, anew)
        tried = [Trial(**check_fields(one, TRIED, journal, anew)) for one in content["trials"]]
    except OscineError:
        if overwrite:
            return []
        raise
    if overwrite:
        return [] if differences(content["record"], record) else tried
    remedy = f"call it as then to go on, {anew}, --name X another"
    check_same_settings(content["record"], record, complaint=f"{journal.parent} is a search with", remedy=remedy)
    return tried


def _propose(space: Mapping[str, Range], tried: Sequence[Trial], seed: int) -> Settings:
    """Propose settings by TPE, from the finished trials and a seed of its own: no state is lost with a process."""
    optuna = require_optuna()
    own = int(np.random.SeedSequence([seed, len(tried)]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(n_startup_trials=1, seed=own))
    kinds = {True: optuna.distributions.IntDistribution, False: optuna.distributions.FloatDistribution}
    ranges = {name: kinds[ends.whole](ends.low, ends.high, log=ends.log) for name, ends in space.items()}
    failed, complete = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE
    for one in tried:
        state = failed if one.failure else complete
        study.add_trial(
            optuna.trial.create_trial(state=state, params=one.settings, distributions=ranges, value=one.value)
        )
    return study.ask(ranges).params


def _try(evaluate: Callable[[Settings], float], settings: Settings) -> Trial:
    value, failure = math.nan, "its value is not a number"
    try:
        value = evaluate(settings)
    except AudioError:  # the disk's fault, not the settings': the same call goes on when it can be read again
        raise
    except (OscineError, ValueError, torch.OutOfMemoryError) as error:  # torch's own, such as for a dropout of 2
        failure = str(error).partition("\n")[0]
    if math.isfinite(value):
        return Trial(settings, value)
    given = ", ".join(f"{name} {number:.3g}" for name, number in settings.items())
    logger.warning("a trial with %s failed: %s", given, failure)
    return Trial(settings, None, failure)


def _best_value(tried: Sequence[Trial]) -> str:
    values = [one.value for one in tried if one.value is not None]
    return f"best {max(values):.3f}" if values else ""
