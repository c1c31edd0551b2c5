"""How far a judgement can be trusted: intervals, calibration, F1 with thresholds; and whether another one is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.probe.fit.judge import Judgement, Progress, silent
from oscine.probe.metrics.bootstrap import (
    FEW,
    Comparison,
    Interval,
    Score,
    accuracy,
    compare,
    confidence_interval,
    mean_auroc,
    mean_average_precision,
    over_parts,
)
from oscine.probe.metrics.calibration import Calibration, Scaling, calibration
from oscine.probe.metrics.choice import FITS, Choice, as_probabilities, make_choice
from oscine.probe.results.predictions import Predictions, predictions_of, same_rows
from oscine.probe.tasks.groups import describe_groups
from oscine.probe.tasks.task import Part, Task

SCORES: dict[str, Callable[[Tensor, Tensor], Score]] = {
    "accuracy": accuracy,
    "cmap": mean_average_precision,
    "auroc": mean_auroc,
}
LEAST = 3  # groups: of two, an interval reaches nearly from 0 to 1
PLAIN = "plain"  # probabilities as the probe gives them
PER_CLASS = " per class"
# Why there are no choices, and what follows for the probe that is kept, see `keep_probe`.
NOT_JUDGED = (
    "how good thresholds and calibration are is not judged, which takes clips of their own (--task.valid 0.2); the kept "
    "probe has both, from clips that its folds had not learnt from"
)
NONE_CHOSEN = (
    "the kept probe says yes from a probability of 0.5 on and is not calibrated: no clips were left to choose by; a split "
    "valid, or --task.valid 0.2, gives some"
)


@dataclass(frozen=True)
class Evidence:
    """What stands behind the scores of a judgement.

    intervals    of accuracy, cmap and auroc, means over the parts as in `Judgement`; and of chosen_f1, with the thresholds
                 of `choices`; of events' F1 instead, see `weigh_frames`, which has neither calibration nor choices
    groups       how many groups of judged rows were drawn for them, see `join_groups`
    calibration  of the probabilities of all judged rows: plain, and scaled as each part chose, by name
    choices      of every part: what a kept probe is scaled and decides by
    unsaid       why intervals or choices are empty
    over         what the groups are, in words, such as "12 sites"
    """

    intervals: dict[str, Interval]
    groups: int
    calibration: dict[str, Calibration]
    choices: dict[str, Choice]
    unsaid: dict[str, str]
    over: str = ""

    @property
    def method(self) -> str:
        """How the intervals were made, for a reader."""
        if self.groups < FEW:
            return f"Student's t over {self.over}, each left out in turn, because there are few"
        return f"a bootstrap over {self.over}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in which None stands for NaN; reliability curves of all classes together alone."""
        return {
            "intervals": _plain(self.intervals),
            "groups": self.groups,
            "over": self.over,
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


def weigh(
    judgement: Judgement,
    task: Task,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    *,
    progress: Progress = silent,
) -> Evidence:
    """Intervals over groups of judged rows, calibration, and what can be chosen by validation rows alone.

    Nothing is chosen on judged rows: without validation rows there is neither a scaling nor a threshold. progress: of the
    draws, which take minutes with thousands of classes.
    """
    predictions = predictions_of(judgement, task)
    unsaid: dict[str, str] = {}
    scores = {name: score_of(predictions, make) for name, make in SCORES.items()}
    calibrations = {PLAIN: calibration(predictions.probabilities, predictions.targets)}
    choices: dict[str, Choice] = {}
    if any(not len(part.valid) for part in task.parts):
        unsaid["choices"] = NOT_JUDGED if len(task.parts) > 1 else NONE_CHOSEN
    else:
        asked = [(logits, task.targets[part.valid]) for part, logits in zip(task.parts, judgement.valid_logits)]
        choices = {part.name: make_choice(*rows, task.single_label) for part, rows in zip(task.parts, asked)}
        scores["chosen_f1"] = over_parts(_f1_scores(judgement, task, choices), predictions.parts)
        for name in FITS:
            for scaling in (name, name + PER_CLASS):
                scaled = [
                    scaled_by(scaling, *rows)(logits) for rows, logits in zip(asked, judgement.logits, strict=True)
                ]
                found = as_probabilities(torch.cat(scaled).double(), task.single_label)
                calibrations[scaling] = calibration(found, predictions.targets)
    groups = predictions.rows["group"]
    total, over = (
        groups.nunique(),
        describe_groups(task.rows.iloc[torch.cat([part.test for part in task.parts]).numpy()]),
    )
    if total < LEAST:
        unsaid["intervals"] = (
            f"{over} {'is' if total == 1 else 'are'} too few for an interval, which takes {LEAST} at least"
        )
        scores = {}
    intervals = {}
    for number, (name, score) in enumerate(scores.items()):
        shown = partial(_within_scores, progress, number * draws, len(scores) * draws)
        intervals[name] = confidence_interval(score, list(groups), draws, level, seed, progress=shown)
    return Evidence(intervals, total, calibrations, choices, unsaid, over)


def _within_scores(progress: Progress, before: int, total: int, done: int) -> None:
    """Progress of one score's draws, as progress of all of them."""
    progress(before + done, total)


def scaled_by(name: str, logits: Tensor, targets: Tensor) -> Scaling:
    """The scaling of that name, temperature, platt or either "per class", fitted on rows to choose by."""
    fit = FITS[name.removesuffix(PER_CLASS)]
    for_all = fit(logits, targets)
    if not name.endswith(PER_CLASS):
        return for_all
    known = one_hot(targets, logits.shape[1]) if targets.ndim == 1 else targets
    return fit(logits, targets, per_class=True).where_seen(known, for_all)


def compare_predictions(
    first: Predictions, second: Predictions, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """How much better the first of two encoders or probes did on the same rows, in accuracy, cmap and auroc."""
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


def _f1_scores(judgement: Judgement, task: Task, choices: Mapping[str, Choice]) -> list[Score]:
    """Of every part: the mean F1 over classes, 0 where one neither occurs nor is predicted, as `Metrics.f1`.

    A part of which no row was drawn has none.
    """

    def f1(logits: Tensor, part: Part) -> Score:
        choice, targets = choices[part.name], task.targets[part.test]
        predicted = as_probabilities(logits.double(), task.single_label, choice.scaling) > choice.thresholds
        true = (one_hot(targets, len(task.classes)) if task.single_label else targets).bool()
        matched, compared = 2 * (predicted & true).double(), predicted.double() + true.double()

        def mean(counts: Tensor) -> Tensor:
            values = ((counts @ matched) / (counts @ compared)).nan_to_num(0.0).mean(1)
            return values.where(counts.any(1), math.nan)

        return mean

    return [f1(logits, part) for logits, part in zip(judgement.logits, task.parts, strict=True)]


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
