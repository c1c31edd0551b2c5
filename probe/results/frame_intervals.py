"""How far scores of events can be trusted: intervals over recordings; and whether another run finds more of them."""

from __future__ import annotations

from pathlib import Path

import torch
from pandas import DataFrame

from oscine.models.errors import OscineError
from oscine.probe.fit.frames import FrameJudgement
from oscine.probe.metrics.bootstrap import Comparison, Score, compare, confidence_interval, over_parts, share
from oscine.probe.metrics.sound_events import Matches
from oscine.probe.results.intervals import LEAST, Evidence
from oscine.probe.results.runs import judged_events
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.groups import join_groups

KEYS = ["path", "part"]


def judged_recordings(judgement: FrameJudgement, task: FrameTask) -> DataFrame:
    """Every judged recording: path, part, group (see `join_groups`), and of each score its `Matches`.

    onset_f1 and segment_f1 are of the published decision; chosen_onset_f1 and chosen_segment_f1 of the chosen one, where
    every part has one.
    """
    judged = torch.cat([part.test for part in task.parts])
    rows = task.rows.iloc[judged.numpy()]
    names = [part.name for part in task.parts for _ in part.test]
    table = rows[["path"]].assign(part=names, group=join_groups(rows)).reset_index(drop=True)
    for before, scores in (("", judgement.published), ("chosen_", judgement.chosen)):
        known = [one for one in scores if one is not None]
        if len(known) == len(task.parts):
            table[f"{before}onset_f1"] = [matches for one in known for matches in one.onsets]
            table[f"{before}segment_f1"] = [matches for one in known for matches in one.segments]
    return table


def read_recordings(run: Path) -> DataFrame | None:
    """The `judged_recordings` among the scores in a run's folder; None where there are none, since it judged clips."""
    found = judged_events(run)
    return DataFrame(found) if found else None


def event_scores(recordings: DataFrame) -> dict[str, Score]:
    """Of `judged_recordings`, every F1 by name: the mean over the parts."""
    parts = [
        torch.from_numpy((recordings["part"] == name).to_numpy().nonzero()[0]) for name in recordings["part"].unique()
    ]
    scores = {}
    for name in recordings.columns.drop([*KEYS, "group"]):
        matched, annotated, found = torch.tensor(recordings[name].tolist()).T
        twice, compared = 2 * matched, annotated + found
        scores[name] = over_parts([share(twice[rows], compared[rows]) for rows in parts], parts)
    return scores


def weigh_frames(recordings: DataFrame, draws: int = 1000, level: float = 0.95, seed: int = 0) -> Evidence:
    """Intervals of every F1 over groups of `judged_recordings`."""
    groups = list(recordings["group"])
    total, unsaid, scores = len(set(groups)), {}, event_scores(recordings)
    over = (
        f"{total} recording{'s' * (total != 1)}"
        if total == len(groups)
        else f"{total} group{'s' * (total != 1)} of recordings"
    )
    if total < LEAST:
        unsaid["intervals"] = (
            f"{over} {'is' if total == 1 else 'are'} too few for an interval, which takes {LEAST} at least"
        )
        scores = {}
    intervals = {name: confidence_interval(score, groups, draws, level, seed) for name, score in scores.items()}
    return Evidence(intervals, total, {}, {}, unsaid, over)


def compare_recordings(
    first: DataFrame, second: DataFrame, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """How much higher every F1 is that both runs have, on the same `judged_recordings`."""
    one, other = event_scores(first), event_scores(same_recordings(first, second))
    groups = list(first["group"])
    return {name: compare(one[name], other[name], groups, draws, level, seed) for name in one if name in other}


def same_recordings(first: DataFrame, second: DataFrame) -> DataFrame:
    """The second in the order of the first; an error unless both were judged on the same recordings, parts and events."""
    mine, its = first.set_index(KEYS), second.set_index(KEYS)
    if not its.index.is_unique or not mine.index.sort_values().equals(its.index.sort_values()):
        raise OscineError(
            f"the two were judged on {len(mine)} and {len(its)} recordings, of which they share "
            f"{mine.index.isin(its.index).sum()}; compare runs of one task, with the same parts"
        )
    its = its.loc[mine.index]
    if [Matches(*one).annotated for one in mine["onset_f1"]] != [Matches(*one).annotated for one in its["onset_f1"]]:
        raise OscineError("the two were judged by other events in the same recordings; compare runs of one task")
    return its.reset_index()
