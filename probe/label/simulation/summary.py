"""Sum up a simulation: areas, gains over random clips, labels to a score, wins, rank correlations over encoders."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oscine.models.files import write_whole
from oscine.models.text.safe_text import as_cell
from oscine.probe.label.curves import (
    Difference,
    Wins,
    area,
    area_by_cycle,
    label_ratio,
    labels_to_reach,
    paired_difference,
    rank_correlation,
    win_matrix,
)
from oscine.probe.label.simulation.replay import ALL_LABELS, Curve, Replay
from oscine.probe.label.simulation.settings import RANDOM, SimulationSettings, parse_initial_sets, parse_strategies
from oscine.probe.label.simulation.views import Encoded
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Task

REACHED = 0.9  # of what all labels give: the score that labels are counted to


class Standing(NamedTuple):
    """What a strategy came to from an initial set, over the seeds of one encoder.

    areas       [seeds]: mean heights of its curves, by labels; by_cycle [seeds]: by batches
    gain        of the areas over random clips from a random initial set, seed by seed
    reached     [seeds]: labels to `REACHED` of what all labels give; infinite where not reached
    ratio       of the median of these to that of random clips; NaN where either is not reached
    final       mean score with all labels of the budget; first: with those of the initial set
    positives, rarest: labels bought, of all classes and of the class with fewest, mean over seeds
    seconds     to choose a batch
    """

    encoder: str
    initial_set: str
    strategy: str
    areas: np.ndarray
    by_cycle: np.ndarray
    gain: Difference
    reached: np.ndarray
    ratio: float
    first: float
    final: float
    positives: float
    rarest: float
    seconds: float


@dataclass(frozen=True)
class Simulation:
    """Everything that a simulation has found.

    encoders  name to what made it
    runs      by what they are runs of, complete; metric: the score of all summaries
    """

    name: str
    settings: SimulationSettings
    clips: int
    classes: int
    parts: Sequence[str]
    several: bool
    encoders: Mapping[str, str]
    runs: Mapping[Replay, Curve]

    @property
    def metric(self) -> str:
        return "cmap" if self.several else "balanced_accuracy"

    @property
    def strategies(self) -> list[str]:
        return [call.text for call in parse_strategies(self.settings.strategies)]

    @property
    def initial_sets(self) -> list[str]:
        return parse_initial_sets(self.settings.initial_sets)

    @property
    def baseline(self) -> str:
        """Return the initial set that random clips are drawn on from, against which gains are."""
        return RANDOM if RANDOM in self.initial_sets else self.initial_sets[0]

    def curves(self, encoder: str, initial_set: str, strategy: str) -> list[Curve]:
        """Return the curves of a strategy, seed by seed."""
        return [self.runs[Replay(seed, encoder, initial_set, strategy)] for seed in range(self.settings.seeds)]

    def scores(self, encoder: str, initial_set: str, strategy: str, metric: str | None = None) -> np.ndarray:
        """Return scores [seeds, points] of a strategy."""
        found = [curve.scores[metric or self.metric] for curve in self.curves(encoder, initial_set, strategy)]
        return np.array(found, dtype=np.float64)

    def labels(self, encoder: str, initial_set: str, strategy: str) -> np.ndarray:  # [seeds, points]
        return np.array([curve.labels for curve in self.curves(encoder, initial_set, strategy)])

    def all_labels(self, encoder: str, metric: str | None = None) -> np.ndarray:  # [seeds]
        """Return what all labels of the clips to choose from give."""
        return self.scores(encoder, "", ALL_LABELS, metric)[:, 0]

    @cached_property
    def standings(self) -> dict[str, list[Standing]]:
        """Return by encoder what every strategy came to from every initial set, the greatest gain first."""
        return {encoder: sorted(self._standings(encoder), key=lambda one: -one.gain.mean) for encoder in self.encoders}

    def _standings(self, encoder: str) -> Iterator[Standing]:
        level = REACHED * self.all_labels(encoder)
        lowest = encoder, self.baseline, RANDOM
        random_areas = area(self.labels(*lowest), self.scores(*lowest))
        random_reached = labels_to_reach(self.labels(*lowest), self.scores(*lowest), level)
        for initial_set in self.initial_sets:
            for strategy in self.strategies:
                key = encoder, initial_set, strategy
                labels, scores, curves = self.labels(*key), self.scores(*key), self.curves(*key)
                areas, reached = area(labels, scores), labels_to_reach(labels, scores, level)
                yield Standing(
                    *key,
                    areas,
                    area_by_cycle(scores),
                    paired_difference(areas, random_areas),
                    reached,
                    label_ratio(reached, random_reached),
                    first=float(scores[:, 0].mean()),
                    final=float(scores[:, -1].mean()),
                    positives=float(np.mean([curve.positives[-1] for curve in curves])),
                    rarest=float(np.mean([curve.rarest[-1] for curve in curves])),
                    seconds=float(np.mean([seconds for curve in curves for seconds in curve.seconds[1:]])),
                )

    def standing(self, encoder: str, initial_set: str, strategy: str) -> Standing:
        """Return what one strategy came to."""
        key = encoder, initial_set, strategy
        return next(one for one in self.standings[encoder] if one[:3] == key)

    def last(self, one: Standing, metric: str) -> float:
        """Return the mean score of a strategy with all labels of the budget."""
        return float(self.scores(one.encoder, one.initial_set, one.strategy, metric)[:, -1].mean())

    def wins(self, encoder: str) -> Wins:
        """Count who is above whom, of strategies from the same initial set and seed, at every point after the first."""
        found = [
            np.concatenate([self.scores(encoder, initial_set, strategy) for initial_set in self.initial_sets])
            for strategy in self.strategies
        ]
        return win_matrix(found)

    def rank_correlations(self) -> dict[str, float]:
        """Return how ranks of encoders by what all labels give go with their ranks by other numbers; NaN below three."""
        whole = [float(self.all_labels(encoder).mean()) for encoder in self.encoders]

        def of(number: Callable[[Standing], float], initial_set: str, strategy: str) -> float:
            return rank_correlation(
                whole, [number(self.standing(encoder, initial_set, strategy)) for encoder in self.encoders]
            )

        found = {f"area of {RANDOM}": of(lambda one: float(one.areas.mean()), self.baseline, RANDOM)}
        for initial_set in self.initial_sets:
            for strategy in self.strategies:
                if (initial_set, strategy) != (self.baseline, RANDOM):
                    name = f"gain of {strategy} from {initial_set}"
                    found[name] = of(lambda one: one.gain.mean, initial_set, strategy)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Describe for JSON; None stands for what is not defined, or not reached."""
        return {
            "task": self.name,
            "clips": self.clips,
            "classes": self.classes,
            "metric": self.metric,
            "settings": {name: str(value) for name, value in vars(self.settings).items()},
            "encoders": {
                encoder: {
                    "model": model,
                    "all_labels": float(self.all_labels(encoder).mean()),
                    "strategies": [_described(one) for one in self.standings[encoder]],
                    "wins": {"names": self.strategies, "shares": (found := self.wins(encoder)).shares.tolist(),
                             "ties": found.ties.tolist()},
                }
                for encoder, model in self.encoders.items()
            },
            "rank_correlations": {name: _number(value) for name, value in self.rank_correlations().items()},
        }  # fmt: skip


def summarise(
    settings: SimulationSettings, task: Task, encoders: Mapping[str, Encoded], runs: Mapping[Replay, Curve], name: str
) -> Simulation:
    """Put the runs of a simulation together with what they are runs of."""
    several = task.kind is not TaskKind.SINGLE
    models = {encoder: encoded.model for encoder, encoded in encoders.items()}
    parts = [part.name for part in task.parts]
    return Simulation(name, settings, len(task.rows), len(task.classes), parts, several, models, runs)


def write_curves(path: Path, runs: Mapping[Replay, Curve]) -> None:
    """Write every point of every run as a row of a table."""
    names = list(dict.fromkeys(name for curve in runs.values() for name in curve.scores))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    counts = ("labels", "positives", "rarest", "classes_found", "seconds")
    rows.writerow([*Replay._fields, *counts, *names])
    for run, curve in runs.items():
        columns = [*(getattr(curve, name) for name in counts), *(curve.scores[name] for name in names)]
        rows.writerows([run.seed, *map(as_cell, run[1:]), *point] for point in zip(*columns, strict=True))
    write_whole(path, text.getvalue().encode())


def _described(one: Standing) -> dict[str, Any]:
    plain = {name: _number(value) for name, value in one._asdict().items() if isinstance(value, float)}
    return {
        "initial_set": one.initial_set,
        "strategy": one.strategy,
        "areas": one.areas.tolist(),
        "areas_by_cycle": one.by_cycle.tolist(),
        "gain": {name: _number(value) for name, value in one.gain._asdict().items()},
        "labels_to_reach": [_number(value) for value in one.reached.tolist()],
        **plain,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
