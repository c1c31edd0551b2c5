"""How far a judgement can be trusted: intervals, calibration, F1 with thresholds; and whether another one is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.probe.calibration import Calibration, Scaling, calibration, fit_platt, fit_temperature
from oscine.probe.data import Task
from oscine.probe.fit import Judgement
from oscine.probe.predictions import Predictions, predictions_of, probabilities, same_rows
from oscine.probe.thresholds import best_thresholds
from oscine.probe.uncertainty import (
    Comparison,
    Interval,
    Score,
    accuracy,
    bootstrap,
    compare,
    mean_auroc,
    mean_average_precision,
    over_parts,
)

SCORES: dict[str, Callable[[Tensor, Tensor], Score]] = {
    "accuracy": accuracy,
    "cmap": mean_average_precision,
    "auroc": mean_auroc,
}
PLAIN = "plain"  # probabilities as the probe gives them
FITS = {"temperature": fit_temperature, "platt": fit_platt}


class Choice(NamedTuple):
    """What the rows of a part that it may choose by came to.

    thresholds  of the probabilities, [classes], above which to say yes
    scalings    of the logits, by name: temperature, platt, and each for every class on its own
    """

    thresholds: Tensor
    scalings: dict[str, Scaling]


@dataclass(frozen=True)
class Evidence:
    """What stands behind the scores of a judgement.

    intervals    of accuracy, cmap and auroc, means over the parts as in `Judgement`; and of chosen_f1, with the thresholds
                 of `choices`
    groups       how many groups of judged rows were drawn for them, see `join_groups`
    calibration  of the probabilities of all judged rows: plain, and scaled as each part chose, by name
    choices      of every part
    unsaid       why intervals or choices are empty
    """

    intervals: dict[str, Interval]
    groups: int
    calibration: dict[str, Calibration]
    choices: dict[str, Choice]
    unsaid: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in which None stands for NaN; reliability curves of all classes together alone."""
        return {
            "intervals": _plain(self.intervals),
            "groups": self.groups,
            "calibration": {
                name: _plain(
                    {
                        "marginal": found.marginal,
                        "weighted": found.weighted,
                        "pooled": found.pooled,
                        "curve": found.pooled_curve,
                    }
                )
                for name, found in self.calibration.items()
            },
            "choices": _plain(self.choices),
            "unsaid": self.unsaid,
        }


def weigh(judgement: Judgement, task: Task, draws: int = 1000, level: float = 0.95, seed: int = 0) -> Evidence:
    """Bootstrap intervals over groups of judged rows, calibration, and what can be chosen by validation rows alone.

    Nothing is chosen on judged rows: without validation rows there is neither a scaling nor a threshold.
    """
    predictions = predictions_of(judgement, task)
    choices = choose(judgement, task)
    unsaid: dict[str, str] = {}
    scores = {name: score_of(predictions, make) for name, make in SCORES.items()}
    calibrations = {PLAIN: calibration(predictions.probabilities, predictions.targets)}
    if choices:
        scores["chosen_f1"] = over_parts(_f1_scores(predictions, choices), predictions.parts)
        for name in next(iter(choices.values())).scalings:
            scaled = [choices[part.name].scalings[name](logits) for part, logits in zip(task.parts, judgement.logits)]
            found = probabilities(torch.cat(scaled), task.single_label)
            calibrations[name] = calibration(found, predictions.targets)
    else:
        without = next(part.name for part in task.parts if not len(part.valid))
        unsaid["choices"] = f"{without} has no rows to choose by: a split 'valid', or a share held out, gives it some"
    groups = predictions.rows["group"]
    total = groups.nunique()
    if total < 2:
        unsaid["intervals"] = f"all {len(groups)} judged rows are of one group; an interval needs at least two"
        scores = {}
    intervals = {name: bootstrap(score, list(groups), draws, level, seed) for name, score in scores.items()}
    return Evidence(intervals, total, calibrations, choices, unsaid)


def choose(judgement: Judgement, task: Task) -> dict[str, Choice]:
    """What every part's validation rows choose, by its name; nothing unless all parts have such rows."""
    if not all(len(part.valid) for part in task.parts):
        return {}
    choices = {}
    for part, logits in zip(task.parts, judgement.valid_logits, strict=True):
        targets = task.targets[part.valid]
        known = one_hot(targets, len(task.classes)) if task.single_label else targets
        scalings: dict[str, Scaling] = {}
        for name, fit in FITS.items():
            scalings[name] = fit(logits, targets)
            scalings[f"{name} per class"] = fit(logits, targets, per_class=True).where_seen(known, scalings[name])
        thresholds = best_thresholds(probabilities(logits, task.single_label), known)
        choices[part.name] = Choice(thresholds, scalings)
    return choices


def compare_judgements(
    first: Judgement, second: Judgement, task: Task, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """How much better the first of two encoders or probes does on the same task, in accuracy, cmap and auroc."""
    return compare_predictions(predictions_of(first, task), predictions_of(second, task), draws, level, seed)


def compare_predictions(
    first: Predictions, second: Predictions, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """`compare_judgements` of two runs, of which nothing is left but what they predicted."""
    second = same_rows(first, second)
    groups = list(first.rows["group"])
    return {
        name: compare(score_of(first, make), score_of(second, make), groups, draws, level, seed)
        for name, make in SCORES.items()
    }


def score_of(predictions: Predictions, make: Callable[[Tensor, Tensor], Score]) -> Score:
    """The mean of a score over the parts. One label a row is scored by its probability, as in `Metrics`."""
    values = predictions.probabilities if predictions.single_label else predictions.logits
    parts = predictions.parts
    return over_parts([make(values[rows], predictions.targets[rows]) for rows in parts], parts)


def _f1_scores(predictions: Predictions, choices: Mapping[str, Choice]) -> list[Score]:
    """Of every part: the mean F1 over classes, 0 where one neither occurs nor is predicted, as `Metrics.f1`."""

    found, targets = predictions.probabilities, predictions.targets.bool()

    def f1(rows: Tensor, thresholds: Tensor) -> Score:
        predicted, true = found[rows] > thresholds, targets[rows]
        matched, compared = 2 * (predicted & true).double(), predicted.double() + true.double()
        return lambda counts: ((counts @ matched) / (counts @ compared)).nan_to_num(0.0).mean(1)

    return [f1(rows, choice.thresholds) for rows, choice in zip(predictions.parts, choices.values(), strict=True)]


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    table = getattr(value, "_asdict", lambda: value)()
    return {name: _plain(one) for name, one in table.items()} if isinstance(table, Mapping) else value
