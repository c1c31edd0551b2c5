"""A search for the settings that do best on rows to choose by: those that were given, Sobol points, then TPE's proposals."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from oscine.models.errors import OscineError
from oscine.models.files import hold
from oscine.probe.data import Part
from oscine.probe.search_space import Range

if TYPE_CHECKING:
    import optuna

JOURNAL, LOCK = "journal.log", "lock"
STUDY, RECORD = "search", "settings"  # names in the journal

logger = logging.getLogger(__name__)

Settings = dict[str, float]  # by dotted names, such as fit.lr


class Tried(NamedTuple):
    """Settings, and what they came to on rows to choose by, or why they came to nothing."""

    settings: Settings
    value: float | None
    failure: str | None = None


@dataclass(frozen=True)
class Search:
    """What was tried, in its order. metric: the one of `Metrics` whose mean over the parts is the value."""

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


def blind(parts: Sequence[Part]) -> list[Part]:
    """Parts as a search sees them: judged on the rows to choose by; those that will be judged are left out."""
    return [Part(part.name, part.train, part.valid, part.valid) for part in parts]


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

    folder: keeps a journal of finished trials (optuna's), with which the same call goes on, also after a kill; record: what
    the values depend on, for JSON: another one is refused, or starts anew if told to overwrite.
    Settings that raise an OscineError or a ValueError, or are too much for the memory, or whose value is not finite, have
    failed; error if all have.
    """
    need_optuna()
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / LOCK, f"searching in {folder}", "--name"):
        study = _open(folder, json.loads(json.dumps(record, default=str)), overwrite)
        ranges = {name: _distribution(ends) for name, ends in space.items()}
        known = given or {}
        own = {name: known[name] for name, ends in space.items() if ends.holds(known.get(name))}
        planned = [own] * (len(own) == len(space)) + _sobol_points(ranges, sobol, seed)
        while (number := len(done := study.get_trials())) < trials:
            progress(number, trials, _best_value(done))
            settings = planned[number] if number < len(planned) else _propose(ranges, done, seed)
            study.add_trial(_try(evaluate, settings, ranges))
        progress(trials, trials, _best_value(done))
    tried = [Tried(trial.params, trial.value, trial.user_attrs.get("failure")) for trial in done[:trials]]
    if all(one.failure for one in tried):
        raise OscineError(f"all {trials} trials failed, the last one since {tried[-1].failure}")
    return Search(metric, space, tried)


def need_optuna() -> Any:
    """Optuna, which is asked for by nothing else and speaks up only for warnings."""
    try:
        import optuna
    except ImportError:
        raise OscineError('optuna is not installed; pip install "oscine[search]" brings it') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _open(folder: Path, record: dict[str, Any], overwrite: bool) -> optuna.Study:
    """The study of a folder; nobody else has it, which its own lock's file, left by a kill, might seem to say."""
    optuna, journal = need_optuna(), folder / JOURNAL
    journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
    _mend(journal)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True)
    before = study.user_attrs.get(RECORD)
    if before is None:
        study.set_user_attr(RECORD, record)
    elif differ := [name for name in {**before, **record} if before.get(name) != record.get(name)]:
        if not overwrite:
            raise OscineError(
                f"{folder} is a search with other {', '.join(differ)}; call it as then to go on, --overwrite starts anew, "
                "--name X another"
            )
        journal.unlink()
        return _open(folder, record, overwrite)
    return study


def _mend(journal: Path) -> None:
    """Cut off a last line that a crash has left unfinished."""
    content = journal.read_bytes() if journal.exists() else b""
    if not content.endswith(b"\n") and content:
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _distribution(ends: Range) -> Any:
    distributions = need_optuna().distributions
    kind = distributions.IntDistribution if ends.whole else distributions.FloatDistribution
    return kind(ends.low, ends.high, log=ends.log)


def _sobol_points(ranges: Mapping[str, Any], count: int, seed: int) -> list[Settings]:
    optuna = need_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
    study, nothing = optuna.create_study(sampler=sampler), optuna.trial.create_trial(value=0.0)
    return [sampler.sample_relative(study, nothing, dict(ranges)) for _ in range(count)]


def _propose(ranges: Mapping[str, Any], done: Sequence[optuna.trial.FrozenTrial], seed: int) -> Settings:
    """By TPE, from the finished trials and a seed of its own: no state is lost with a process."""
    optuna = need_optuna()
    own = int(np.random.SeedSequence([seed, len(done)]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(n_startup_trials=1, seed=own))
    study.add_trials(done)
    return study.ask(dict(ranges)).params


def _try(
    evaluate: Callable[[Settings], float], settings: Settings, ranges: Mapping[str, Any]
) -> optuna.trial.FrozenTrial:
    """A finished trial. It is written when it is over, in one line, and what a kill has interrupted was never begun."""
    value, failure = math.nan, "its value is not a number"
    try:
        value = evaluate(settings)
    except (OscineError, ValueError, torch.OutOfMemoryError) as error:  # torch's own, such as for a dropout of 2
        failure = str(error).partition("\n")[0]
    optuna = need_optuna()
    kept: dict[str, Any] = {"params": settings, "distributions": dict(ranges)}
    if math.isfinite(value):
        return optuna.trial.create_trial(value=value, **kept)
    logger.warning("a trial with %s failed: %s", _text(settings), failure)
    return optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"failure": failure}, **kept)


def _best_value(done: Sequence[optuna.trial.FrozenTrial]) -> str:
    values = [trial.value for trial in done if trial.value is not None]
    return f"best {max(values):.3f}" if values else ""


def _text(settings: Settings) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in settings.items())
