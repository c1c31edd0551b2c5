"""The page of a run that judges by the moment: which events are found, how sure that is, and what a recording looks like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from oscine.models.encoders.base.encoder import Encoder
from oscine.probe.fit.frames import THRESHOLDS, Decision, FrameJudgement, score_events
from oscine.probe.metrics.sound_events import Matches, find_events, onset_matches, segment_matches, total
from oscine.probe.report.examples import pictures
from oscine.probe.report.figures import interval_rows, share_text
from oscine.probe.report.frame_figures import Scene, busiest, scene_figure, threshold_figure
from oscine.probe.report.html import Report
from oscine.probe.report.page import gated, show_gates, show_settings
from oscine.probe.results.intervals import Assessment
from oscine.probe.tasks.frame_task import Event, FrameTask

SHOWN_SECONDS = 30.0  # of a recording: longer ones have events too short to be seen
CLASS_HEADER = ["class", "events", "found", "onset F1", "precision", "recall", "segment F1"]


def portray_frames(
    title: str,
    settings: Mapping[str, Any],
    encoder: Encoder,
    task: FrameTask,
    judgement: FrameJudgement,
    evidence: Assessment,
) -> Report:
    """The report of what a frame-wise probe made of a frozen encoder.

    Args:
        title: of the page.
        settings: of the run, nested as in its YAML.
        encoder, task: what `judgement` was made of.
        evidence: of `assess_frames`, about it.
    """
    page = Report(title)
    heard = hear_again(task, judgement)
    _scores(page, task, judgement)
    _show_intervals(page, evidence)
    if gated(judgement.probes):
        page.heading("Layers")
        show_gates(page, judgement.probes)
    _thresholds(page, task, judgement)
    _recordings(page, encoder, task, judgement, heard)
    _classes(page, task, heard)
    show_settings(page, settings)
    return page


class Heard(NamedTuple):
    """A judged recording: its row, its place in its part's logits, that part, and the events that were found in it."""

    row: int
    place: int
    part: int
    found: list[Event]

    def onsets(self, task: FrameTask) -> Matches:
        return onset_matches([task.events[self.row]], [self.found])[0]


def hear_again(task: FrameTask, judgement: FrameJudgement) -> list[Heard]:
    """All judged recordings, by the decisions that the probes would be kept with."""
    heard = []
    for number, part in enumerate(task.parts):
        decision = judgement.decision(number)
        for place, row in enumerate(part.test.tolist()):
            probabilities = judgement.logits[number][place].sigmoid()
            found = find_events(probabilities, judgement.hop, decision.threshold, decision.median)
            heard.append(Heard(row, place, number, found))
    return heard


def class_rows(task: FrameTask, heard: list[Heard]) -> list[list[str]]:
    """Rows of a table: every class that is annotated or found in judged recordings, the lowest onset F1 first."""
    rows = []
    for label, name in enumerate(task.classes):
        there, said = (
            [[event for event in events if event.label == label] for events in files]
            for files in ([task.events[one.row] for one in heard], [one.found for one in heard])
        )
        onset, segment = total(onset_matches(there, said)), total(segment_matches(there, said))
        if onset.annotated or onset.found:
            shares = (onset.f1, onset.precision, onset.recall, segment.f1)
            rows.append((onset.f1, [name, str(onset.annotated), str(onset.found), *map(share_text, shares)]))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _scores(page: Report, task: FrameTask, judgement: FrameJudgement) -> None:
    judged = sum(len(part.test) for part in task.parts)
    page.paragraph(
        f"{len(task.rows)} recordings, {sum(map(len, task.events))} events of {len(task.classes)} classes; {judged} of them "
        "are judged, by a probe that has not learnt from them. The encoder was frozen. An event counts as found where one "
        "of its class begins within 0.2 s of it (onset); a segment is a second in which a class sounds."
    )
    page.heading("Scores")
    rows = []
    for number, name in enumerate(judgement.parts):
        for kind, scores in (("published", judgement.published[number]), ("chosen", judgement.chosen[number])):
            if scores is not None:
                decision, onset = scores.decision, scores.onset
                shares = (onset.f1, onset.precision, onset.recall, scores.segment.f1)
                rows.append(
                    [f"{name}, {kind}", f"{decision.threshold:g}", str(decision.median), *map(share_text, shares)]
                )
    page.table(["decision", "threshold", "median", "onset F1", "precision", "recall", "segment F1"], rows)
    page.paragraph(
        "Probabilities become events by a threshold and a median over steps of time: those that were published, to be held "
        "beside published figures, and those with the best onset F1 in validation recordings, if there are some."
    )
    page.table(
        ["all steps of time as rows", *judgement.parts],
        [
            [name, *(share_text(getattr(one, name)) for one in judgement.frames)]
            for name in ("map", "micro_map", "auroc")
        ],
    )


def _show_intervals(page: Report, evidence: Assessment) -> None:
    if evidence.intervals:
        page.table(["over all parts", "value", "95 % interval"], interval_rows(evidence.intervals))
        page.paragraph(
            f"Intervals are from {evidence.method}, by the published decision and by the chosen one. They say how far other "
            "recordings of the same kind might have moved the score; not how far another seed would."
        )
    for sentence in evidence.omitted.values():
        page.paragraph(f"Left out: {sentence}.")


def _thresholds(page: Report, task: FrameTask, judgement: FrameJudgement) -> None:
    part, chosen = task.parts[0], judgement.chosen[0]
    if chosen is None:
        return
    truth, probabilities = [task.events[row] for row in part.valid.tolist()], judgement.valid_logits[0].sigmoid()
    median = chosen.decision.median
    scores = [score_events(probabilities, truth, Decision(level, median), judgement.hop) for level in THRESHOLDS]
    page.heading("Which threshold?")
    page.figure(
        threshold_figure(
            {"onset F1": [one.onset.f1 for one in scores], "segment F1": [one.segment.f1 for one in scores]},
            THRESHOLDS,
            chosen.decision.threshold,
        ),
        f"Of {len(part.valid)} validation recordings of {part.name}, with a median over {median} steps; the dashed line is "
        "the threshold that was chosen, for the best onset F1. A narrow peak: the probe hangs on its threshold.",
    )


def _recordings(page: Report, encoder: Encoder, task: FrameTask, judgement: FrameJudgement, heard: list[Heard]) -> None:
    """Where the probe does best and where it does worst, of recordings in which there is something to find."""
    able = [one for one in heard if task.events[one.row] and one.part == 0]
    if not able:
        return
    page.heading("Recordings")
    page.paragraph(
        f"Of {judgement.parts[0]}: the recording in which most onsets are right and the one in which fewest are. "
        "Top: the recording. Middle: each class's probability. Bottom: the events."
    )
    order = sorted(able, key=lambda one: -one.onsets(task).f1)
    for one in dict.fromkeys((0, len(order) - 1)):
        _recording(page, encoder, task, judgement, order[one])


def _recording(page: Report, encoder: Encoder, task: FrameTask, judgement: FrameJudgement, one: Heard) -> None:
    [picture] = pictures(encoder, task.rows.iloc[[one.row]], task.seconds)
    true = task.events[one.row]
    probabilities = judgement.logits[one.part][one.place].sigmoid()
    begin, end = busiest(true, SHOWN_SECONDS, len(probabilities) * judgement.hop)
    found = one.onsets(task)
    page.figure(
        scene_figure(
            Scene(picture.spectrogram, probabilities, judgement.hop, true, one.found),
            task.classes,
            picture.ruler,
            begin,
            end,
        ),
        f"{Path(task.rows['path'].iloc[one.row]).stem}, {begin:.0f} to {end:.0f} s. Of all its {found.annotated} events "
        f"the onsets of {found.matched} are found, among {found.found} that were said to be there (F1 {found.f1:.3f}).",
        "webp",
    )


def _classes(page: Report, task: FrameTask, heard: list[Heard]) -> None:
    page.heading("Classes")
    page.paragraph("All judged recordings together, the lowest onset F1 first. With few events a figure may be luck.")
    page.table(CLASS_HEADER, class_rows(task, heard))
