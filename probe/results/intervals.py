"""Compute intervals and calibration of a judgement's scores, and whether another run is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.models.text.words import counted
from oscine.probe.fit.frames import FrameJudgement
from oscine.probe.fit.judge import Judgement, within
from oscine.probe.metrics.bootstrap import (
    FEW,
    USUAL,
    Comparison,
    Interval,
    Resampling,
    Score,
    accuracy,
    compare,
    confidence_interval,
    mean_auroc,
    mean_average_precision,
    over_parts,
    ratio,
)
from oscine.probe.metrics.calibration import Calibration, Scaling, calibration
from oscine.probe.metrics.decisions import FITS, DecisionRule, as_probabilities, fit_decision_rule
from oscine.probe.metrics.sound_events import Matches
from oscine.probe.results.predictions import Predictions, align_rows, predictions_of
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.groups import describe_groups, join_groups
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Part, Task, as_columns

SCORES: dict[str, Callable[[Tensor, Tensor], Score]] = {
    "accuracy": accuracy,
    "cmap": mean_average_precision,
    "auroc": mean_auroc,
}
LEAST = 3  # groups: of two, an interval reaches nearly from 0 to 1
PLAIN = "plain"  # probabilities as the probe gives them
PER_CLASS = " per class"
RECORDING = ["path", "part"]  # what tells the rows of `judged_recordings` apart
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
class Assessment:
    """What stands behind the scores of a judgement.

    intervals    of accuracy, cmap and auroc, means over the parts as in `Judgement`; and of chosen_f1, with the thresholds
                 of `choices`; of events' F1 instead, see `assess_frames`, which has neither calibration nor choices
    groups       how many groups of judged rows were drawn for them, see `join_groups`
    calibration  of the probabilities of all judged rows: plain, and scaled as each part chose, by name
    choices      of every part: what a kept probe is scaled and decides by
    omitted      why intervals or choices are empty
    over         what the groups are, in words, such as "12 sites"
    """

    intervals: dict[str, Interval]
    groups: int
    calibration: dict[str, Calibration]
    choices: dict[str, DecisionRule]
    omitted: dict[str, str]
    over: str = ""

    @property
    def method(self) -> str:
        """How the intervals were made, for a reader."""
        if self.groups < FEW:
            return f"Student's t over {self.over}, each left out in turn, because there are few"
        return f"a bootstrap over {self.over}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in which None stands for NaN; reliability curves of all classes together alone."""
        shown = {"marginal": "marginal", "weighted": "weighted", "pooled": "pooled", "curve": "pooled_curve"}
        calibrations = {
            name: {key: getattr(found, field) for key, field in shown.items()}
            for name, found in self.calibration.items()
        }
        return _plain(
            {
                "intervals": self.intervals, "groups": self.groups, "over": self.over, "calibration": calibrations,
                "choices": self.choices, "unsaid": self.omitted,
            }
        )  # fmt: skip


def assess(
    judgement: Judgement, task: Task, how: Resampling = USUAL, *, progress: ShowProgress = show_nothing
) -> Assessment:
    """Compute intervals over groups of judged rows, calibration, and what validation rows alone can choose.

    Nothing is chosen on judged rows: without validation rows there is neither a scaling nor a threshold. progress: of the
    draws, which take minutes with thousands of classes.
    """
    predictions = predictions_of(judgement, task)
    omitted: dict[str, str] = {}
    scores = {name: score_of(predictions, make) for name, make in SCORES.items()}
    calibrations = {PLAIN: calibration(predictions.probabilities, predictions.targets)}
    choices: dict[str, DecisionRule] = {}
    if any(not len(part.valid) for part in task.parts):
        omitted["choices"] = NOT_JUDGED if len(task.parts) > 1 else NONE_CHOSEN
    else:
        asked = [(logits, task.targets[part.valid]) for part, logits in zip(task.parts, judgement.valid_logits)]
        choices = {part.name: fit_decision_rule(*rows) for part, rows in zip(task.parts, asked)}
        scores["chosen_f1"] = over_parts(_f1_scores(judgement, task, choices), predictions.parts)
        for scaling in (name + suffix for name in FITS for suffix in ("", PER_CLASS)):
            scaled = [fit_scaling(scaling, *rows)(logits) for rows, logits in zip(asked, judgement.logits, strict=True)]
            found = as_probabilities(torch.cat(scaled).double(), task.kind)
            calibrations[scaling] = calibration(found, predictions.targets)
    over = describe_groups(task.rows.iloc[torch.cat([part.test for part in task.parts]).numpy()])
    made = _assess(scores, list(predictions.rows["group"]), over, how, progress)
    return replace(made, calibration=calibrations, choices=choices, omitted=omitted | made.omitted)


def _assess(
    scores: Mapping[str, Score], groups: list[int], over: str, how: Resampling, progress: ShowProgress = show_nothing
) -> Assessment:
    """Compute the interval of every score, if there are enough groups. over: what these are, in words."""
    total = len(set(groups))
    if total < LEAST:
        few = f"{over} {'is' if total == 1 else 'are'} too few for an interval, which takes {LEAST} at least"
        return Assessment({}, total, {}, {}, {"intervals": few}, over)
    intervals = {
        name: confidence_interval(score, groups, how, progress=within(progress, number, len(scores)))
        for number, (name, score) in enumerate(scores.items())
    }
    return Assessment(intervals, total, {}, {}, {}, over)


def fit_scaling(name: str, logits: Tensor, targets: Tensor) -> Scaling:
    """Fit the scaling of that name: temperature, platt or either "per class".

    logits [rows, classes] and targets, as in `Task`, of rows to choose by.
    """
    fit = FITS[name.removesuffix(PER_CLASS)]
    for_all = fit(logits, targets)
    if not name.endswith(PER_CLASS):
        return for_all
    known = as_columns(targets, logits.shape[1])
    return fit(logits, targets, per_class=True).where_seen(known, for_all)


def compare_predictions(first: Predictions, second: Predictions, how: Resampling = USUAL) -> dict[str, Comparison]:
    """Compute how much better the first of two runs did on the same rows, in accuracy, cmap and auroc."""
    second = align_rows(first, second)
    groups = list(first.rows["group"])
    return {name: compare(score_of(first, make), score_of(second, make), groups, how) for name, make in SCORES.items()}


def score_of(predictions: Predictions, make: Callable[[Tensor, Tensor], Score]) -> Score:
    """Return the mean of a score over the parts. One label a row is scored by its probability, as in `Metrics`."""
    values = predictions.probabilities if predictions.kind is TaskKind.SINGLE else predictions.logits
    parts = predictions.parts
    return over_parts([make(values[rows], predictions.targets[rows]) for rows in parts], parts)


def _f1_scores(judgement: Judgement, task: Task, choices: Mapping[str, DecisionRule]) -> list[Score]:
    """Return of every part the mean F1 over classes, 0 where one neither occurs nor is predicted, as `Metrics.f1`.

    A part of which no row was drawn has none.
    """

    def f1(logits: Tensor, part: Part) -> Score:
        choice, targets = choices[part.name], task.targets[part.test]
        predicted = as_probabilities(logits.double(), task.kind, choice.scaling) > choice.thresholds
        true = as_columns(targets, len(task.classes)).bool()
        matched, compared = 2 * (predicted & true).double(), predicted.double() + true.double()

        def mean(counts: Tensor) -> Tensor:
            values = ((counts @ matched) / (counts @ compared)).nan_to_num(0.0).mean(1)
            return values.where(counts.any(1), math.nan)

        return mean

    return [f1(logits, part) for logits, part in zip(judgement.logits, task.parts, strict=True)]


def judged_recordings(judgement: FrameJudgement, task: FrameTask) -> DataFrame:
    """Return a row for every judged recording: path, part, group (see `join_groups`), and of each score its `Matches`.

    onset_f1 and segment_f1 are of the published decision; chosen_onset_f1 and chosen_segment_f1 of the chosen one, where
    every part has one.
    """
    rows = task.rows.iloc[torch.cat([part.test for part in task.parts]).numpy()]
    names = [part.name for part in task.parts for _ in part.test]
    table = rows[["path"]].assign(part=names, group=join_groups(rows)).reset_index(drop=True)
    for before, scores in (("", judgement.published), ("chosen_", judgement.chosen)):
        known = [one for one in scores if one is not None]
        if len(known) == len(task.parts):
            table[f"{before}onset_f1"] = [matches for one in known for matches in one.onsets]
            table[f"{before}segment_f1"] = [matches for one in known for matches in one.segments]
    return table


def event_scores(recordings: DataFrame) -> dict[str, Score]:
    """Return every F1 of `judged_recordings` by name: the mean over the parts."""
    parts = [
        torch.from_numpy((recordings["part"] == name).to_numpy().nonzero()[0]) for name in recordings["part"].unique()
    ]
    scores = {}
    for name in recordings.columns.drop([*RECORDING, "group"]):
        matched, annotated, found = torch.tensor(recordings[name].tolist()).T
        twice, compared = 2 * matched, annotated + found
        scores[name] = over_parts([ratio(twice[rows], compared[rows]) for rows in parts], parts)
    return scores


def assess_frames(recordings: DataFrame, how: Resampling = USUAL) -> Assessment:
    """Compute the interval of every F1 over groups of `judged_recordings`."""
    groups = list(recordings["group"])
    total = len(set(groups))
    over = counted(total, "recording") if total == len(groups) else f"{counted(total, 'group')} of recordings"
    return _assess(event_scores(recordings), groups, over, how)


def compare_recordings(first: DataFrame, second: DataFrame, how: Resampling = USUAL) -> dict[str, Comparison]:
    """Compute how much higher every F1 is that both runs have, on the same `judged_recordings`."""
    one, other = event_scores(first), event_scores(_align_recordings(first, second))
    groups = list(first["group"])
    return {name: compare(one[name], other[name], groups, how) for name in one if name in other}


def _align_recordings(first: DataFrame, second: DataFrame) -> DataFrame:
    """Put the second in the order of the first; raise unless both were judged on the same recordings and events."""
    mine, its = first.set_index(RECORDING), second.set_index(RECORDING)
    if not its.index.is_unique or not mine.index.sort_values().equals(its.index.sort_values()):
        raise OscineError(
            f"the two were judged on {len(mine)} and {len(its)} recordings, of which they share "
            f"{mine.index.isin(its.index).sum()}; compare runs of one task, with the same parts"
        )
    its = its.loc[mine.index]
    if [Matches(*one).annotated for one in mine["onset_f1"]] != [Matches(*one).annotated for one in its["onset_f1"]]:
        raise OscineError("the two were judged by other events in the same recordings; compare runs of one task")
    return its.reset_index()


def _plain(value: Any) -> Any:
    """Turn tensors, tuples and NaN into what JSON has."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    table = getattr(value, "_asdict", lambda: value)()
    return {name: _plain(one) for name, one in table.items()} if isinstance(table, Mapping) else value
