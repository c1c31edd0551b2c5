"""Write the page of a frame-wise probe's run: the events that it finds, how sure that is, some recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.frontends.mel import MelScale
from oscine.probe.fit.frames import THRESHOLDS, Decision, FrameJudgement, score_events
from oscine.probe.metrics.sound_events import Matches, find_events, onset_matches, segment_matches, total
from oscine.probe.report.cutouts import show_spectrogram
from oscine.probe.report.examples import pictures
from oscine.probe.report.html import COLOURS, GRID, INK, MUTED, WIDE, Report, plain_axes
from oscine.probe.report.page import gated, show_gates
from oscine.probe.report.score_sections import interval_rows, share_text
from oscine.probe.results.intervals import Assessment
from oscine.probe.tasks.frame_task import Event, FrameTask

SHOWN_SECONDS = 30.0  # of a recording: longer ones have events too short to be seen
DRAWN_CLASSES = 16  # of a scene; with more, their lanes are too narrow
TRUE, FOUND = COLOURS[2], COLOURS[1]
CLASS_HEADER = ["class", "events", "found", "onset F1", "precision", "recall", "segment F1"]


class JudgedRecording(NamedTuple):
    """A judged recording, by its row, in the part of that number; and the events that are annotated and found in it.

    probabilities: [time, classes].
    """

    row: int
    part: int
    probabilities: Tensor
    true: list[Event]
    found: list[Event]

    @property
    def onsets(self) -> Matches:
        return onset_matches([self.true], [self.found])[0]


@dataclass(frozen=True)
class JudgedFrames:
    """A frame-wise judgement and what it was made of."""

    encoder: Encoder
    task: FrameTask
    judgement: FrameJudgement

    @cached_property
    def recordings(self) -> list[JudgedRecording]:
        """All judged recordings, with events by the decisions that the probes would be kept with."""
        judgement, recordings = self.judgement, []
        for number, part in enumerate(self.task.parts):
            decision = judgement.decision(number)
            for row, logits in zip(part.test.tolist(), judgement.logits[number], strict=True):
                probabilities = logits.sigmoid()
                found = find_events(probabilities, judgement.hop, decision.threshold, decision.median)
                recordings.append(JudgedRecording(row, number, probabilities, self.task.events[row], found))
        return recordings


def frames_report(title: str, judged: JudgedFrames, assessment: Assessment) -> Report:
    """Make the report of what a frame-wise probe made of a frozen encoder.

    Args:
        title: of the page.
        judged: the judgement, and what it was made of.
        assessment: of `assess_frames`, about it.
    """
    page, probes = Report(title), judged.judgement.probes
    _scores(page, judged.task, judged.judgement)
    if assessment.intervals:
        page.table(["over all parts", "value", "95 % interval"], interval_rows(assessment.intervals))
        page.paragraph(
            f"Intervals are from {assessment.method}, by the published decision and by the chosen one. They say how far "
            "other recordings of the same kind might have moved the score; not how far another seed would."
        )
    for sentence in assessment.omitted.values():
        page.paragraph(f"Left out: {sentence}.")
    if gated(probes):
        page.heading("Layers")
        show_gates(page, probes)
    _thresholds(page, judged.task, judged.judgement)
    _recordings(page, judged)
    page.heading("Classes")
    page.paragraph("All judged recordings together, the lowest onset F1 first. With few events a figure may be luck.")
    page.table(CLASS_HEADER, class_rows(judged))
    return page


def class_rows(judged: JudgedFrames) -> list[list[str]]:
    """Make rows of a table: every class that is annotated or found in judged recordings, the lowest onset F1 first."""
    rows = []
    for label, name in enumerate(judged.task.classes):
        true, found = (
            [[event for event in events if event.label == label] for events in files]
            for files in zip(*((one.true, one.found) for one in judged.recordings))
        )
        onset, segment = total(onset_matches(true, found)), total(segment_matches(true, found))
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
            [name, *(share_text(getattr(one, name)) for one in judgement.metrics)]
            for name in ("map", "micro_map", "auroc")
        ],
    )


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


def _recordings(page: Report, judged: JudgedFrames) -> None:
    """Show where the probe does best and where it does worst, of recordings in which there is something to find."""
    able = [one for one in judged.recordings if one.true and one.part == 0]
    if not able:
        return
    page.heading("Recordings")
    page.paragraph(
        f"Of {judged.judgement.parts[0]}: the recording in which most onsets are right and the one in which fewest are. "
        "Top: the recording. Middle: each class's probability. Bottom: the events."
    )
    task, hop = judged.task, judged.judgement.hop
    order = sorted(able, key=lambda one: -one.onsets.f1)
    for number in dict.fromkeys((0, len(order) - 1)):
        one, onsets = order[number], order[number].onsets
        [picture] = pictures(judged.encoder, task.rows.iloc[[one.row]], task.seconds)
        begin, end = busiest(one.true, SHOWN_SECONDS, len(one.probabilities) * hop)
        scene = Scene(picture.spectrogram, one.probabilities, hop, one.true, one.found)
        page.figure(
            scene_figure(scene, task.classes, picture.mel_scale, begin=begin, end=end),
            f"{Path(task.rows['path'].iloc[one.row]).stem}, {begin:.0f} to {end:.0f} s. Of all its {onsets.annotated} "
            f"events the onsets of {onsets.matched} are found, among {onsets.found} that were said to be there "
            f"(F1 {onsets.f1:.3f}).",
            "webp",
        )


class Scene(NamedTuple):
    """A recording and what was made of it.

    spectrogram    [frames, mel]
    probabilities  [time, classes], a step every `hop` seconds
    true, found    events
    """

    spectrogram: Tensor
    probabilities: Tensor
    hop: float
    true: Sequence[Event]
    found: Sequence[Event]


def scene_figure(scene: Scene, classes: Sequence[str], mel_scale: MelScale, *, begin: float, end: float) -> Figure:
    """Draw some seconds of a recording: its spectrogram, each class's probability, and the events, annotated and found."""
    shown = _shown(scene, len(classes), begin, end)
    figure = Figure(figsize=(WIDE, 2.6 + 0.44 * len(shown)), layout="constrained")
    heard, heat, lanes = figure.subplots(3, 1, sharex=True, height_ratios=[1.6, 0.2 * len(shown), 0.24 * len(shown)])
    show_spectrogram(heard, scene.spectrogram, mel_scale)
    heard.set_ylabel("kHz", fontsize=9)
    image = heat.imshow(
        scene.probabilities[:, shown].numpy().T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest",
        extent=(0.0, len(scene.probabilities) * scene.hop, len(shown) - 0.5, -0.5),
    )  # fmt: skip
    figure.colorbar(image, ax=heat, pad=0.01, aspect=12).set_label("probability", fontsize=8.5)
    for events, colour, offset in ((scene.true, TRUE, -0.4), (scene.found, FOUND, 0.02)):
        for event in [event for event in events if event.label in shown]:
            length = max(event.offset - event.onset, scene.hop)  # an event of a single step is as long as that
            lanes.broken_barh([(event.onset, length)], (shown.index(event.label) + offset, 0.38), color=colour)
    lanes.set_ylim(len(shown) - 0.5, -0.5)
    lanes.hlines(np.arange(len(shown) - 1) + 0.5, begin, end, color=GRID, linewidth=0.8)
    handles = [Patch(color=TRUE, label="annotated"), Patch(color=FOUND, label="found")]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    for axes in (heat, lanes):
        axes.set_yticks(range(len(shown)), [classes[label] for label in shown])
    for axes in (heard, heat, lanes):
        axes.tick_params(labelsize=8.5, colors=INK)
        axes.spines[:].set_color(MUTED)
    lanes.set_xlim(begin, end)
    lanes.set_xlabel("seconds", fontsize=9)
    return figure


def _shown(scene: Scene, classes: int, begin: float, end: float) -> list[int]:
    """Pick all classes if they have room; else those of the stretch's events, then those that are likeliest in it."""
    if classes <= DRAWN_CLASSES:
        return list(range(classes))
    events = [event for event in (*scene.true, *scene.found) if event.offset >= begin and event.onset < end]
    steps = scene.probabilities[int(begin / scene.hop) : max(int(end / scene.hop), 1)]
    likely = steps.amax(0).argsort(descending=True, stable=True).tolist()
    return sorted(list(dict.fromkeys([event.label for event in sorted(events)] + likely))[:DRAWN_CLASSES])


def busiest(events: Sequence[Event], seconds: float, whole: float) -> tuple[float, float]:
    """Find the stretch of a recording in which most events begin, the first of such; of `whole` seconds."""
    begins = [min(max(0.0, event.onset - 0.5), max(0.0, whole - seconds)) for event in events] or [0.0]
    begin = max(begins, key=lambda at: (sum(at <= event.onset < at + seconds for event in events), -at))
    return begin, min(begin + seconds, whole)


def threshold_figure(curves: Mapping[str, Sequence[float]], thresholds: Sequence[float], chosen: float) -> Figure:
    """Draw a line over the thresholds for each score, and the threshold that was chosen."""
    figure = Figure(figsize=(6.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(curves.items(), cycle(COLOURS)):
        axes.plot(thresholds, values, color=colour, marker="o", markersize=4, label=name)
    axes.axvline(chosen, color=MUTED, linewidth=1, linestyle="--", label=f"chosen: {chosen:g}")
    axes.set_xlabel("threshold")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.03, 1.03)
    plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure
