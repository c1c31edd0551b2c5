"""Write what is known now: a page, the labels, and the probe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from oscine.models.errors import OscineError
from oscine.models.text.words import counted, duration
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, Answer
from oscine.probe.label.loop.judged import Judged, judge_audit
from oscine.probe.label.loop.loop import LabelLoop
from oscine.probe.label.loop.outcome import LABELS, WrittenLabels, write_labels, write_probe
from oscine.probe.label.votes.annotators import AnnotatorReport
from oscine.probe.metrics.bootstrap import Interval
from oscine.probe.report.html import Report, write_report

PAGE = "known.html"


class Known(NamedTuple):
    """What was written: the page as it is, the files, and what could not be written or was left out."""

    page: str
    files: list[Path]
    faults: list[str]


def write_known(loop: LabelLoop, recordings: Path, command: str) -> Known:
    """Write labels, probe, and the page that says what is known now, beside the journals; one call after the other.

    What cannot be written is said on the page. recordings: the folder that was embedded.
    """
    loop.wait()
    with loop.writing:
        return _write_known(loop, recordings, command)


def _write_known(loop: LabelLoop, recordings: Path, command: str) -> Known:
    judged = judge_audit(loop.audit_answers(), loop.classes, one_label=loop.settings.one_label)
    files, faults, people = list[Path](), list[str](), list[AnnotatorReport]()
    with _saying(faults, "No labelled table was written"):
        written = write_labels(loop.folder, recordings)
        people = written.table.reports
        files.append(loop.folder / LABELS)
        faults.extend(left_out(written))
    with _saying(faults, "No probe was written"):
        if learnt := loop.learn_all():
            files.append(write_probe(loop.table, learnt, loop.folder))
        else:
            faults.append("No probe was written: there is nothing to tell apart yet.")
    report = known_report(loop, judged, people)
    end_report(report, files, faults, encoder=loop.table.made_by["model"] or "ENCODER", command=command)
    with _saying(faults, "This page was not kept"):
        write_report(report, loop.folder / PAGE)
        files.append(loop.folder / PAGE)
    return Known(report.html(), files, faults)


def left_out(written: WrittenLabels) -> list[str]:
    """Say which classes and clips the labelled table leaves out, and why."""
    total = written.table.clips + sum(written.table.left_out.values())
    classes = [
        f"{LABELS} leaves out the class {name}, which {clips} of {counted(total, 'clip')} were asked for."
        for name, clips in written.late.items()
    ]
    clips = [
        f"{LABELS} leaves out {counted(count, 'clip')}, since {reason}."
        for reason, count in written.table.left_out.items()
    ]
    return classes + clips


@contextmanager
def _saying(faults: list[str], what: str) -> Iterator[None]:
    """Add to the faults what keeps a block from its end, such as a full disk."""
    try:
        yield
    except OscineError as error:
        faults.append(f"{what}: {error}.")
    except OSError as error:
        faults.append(f"{what}: {error.strerror or error}; make room, then finish again.")


def end_report(report: Report, files: Sequence[Path], faults: Sequence[str], *, encoder: str, command: str) -> None:
    """Say what was written, what could not be, what to do with it, and what made the page."""
    report.heading("What to do with it")
    for fault in faults:
        report.paragraph(fault)
    for path in files:
        if path.name == LABELS:
            report.paragraph("The labels are a table for other probes; its chosen clips are not like all the others.")
            report.command(f"oscine probe linear --encoder {encoder} --table {path}")
        else:
            report.paragraph("The probe says of every clip of a folder what it hears.")
            report.command(f"oscine predict FOLDER --probe {path} --out birds.csv")
    report.heading("How this page was made", 3)
    report.command(command)


def known_report(loop: LabelLoop, judged: Judged, people: Sequence[AnnotatorReport]) -> Report:
    """Say what is known, the most important first: how well the probe does, how frequent classes are, who said what."""
    contents = [content for content in loop.contents() if content.answers]
    answers = [answer for content in contents for answer in content.first_answers]
    report = Report("What is known now")
    minutes = duration(sum(answer.taken for answer in answers))
    report.paragraph(
        f"{counted(len({answer.clip for answer in answers}), 'clip')} of {len(loop.table.clips)} in {loop.table.path.name} "
        f"have an answer, by {counted(len(contents), 'person', 'people')}, in {minutes}."
    )
    _score(report, judged)
    _classes(report, loop, answers, judged)
    _people(report, people)
    report.heading("Whether to go on")
    for line in loop.progress.lines or ["Nothing is said of this before a probe was fitted a few times."]:
        report.paragraph(line)
    return report


def _score(report: Report, judged: Judged) -> None:
    report.heading("How well the probe does")
    scored = judged.scored
    if math.isnan(scored.score.value):
        report.paragraph(
            f"Not known yet. It is judged by clips that were drawn at random from all of them; there are {judged.clips}, "
            "and none came when there was a probe."
        )
    else:
        report.paragraph(
            f"While it learnt, its {judged.metric} was {shown(scored.score)}, where {scored.chance:.2f} is to be had "
            f"without hearing; of {counted(scored.clips, 'clip')}, drawn at random from all, each before it was learnt. "
            "What is written has learnt from all of them."
        )
    if scored.unclear:
        one_label = "have no class for certain, and do not count"
        several = "lack a class, unsure or added later, and count for the others"
        report.paragraph(
            f"Random clips that {one_label if judged.metric == 'accuracy' else several}: {scored.unclear}."
        )
    if not math.isnan(scored.off):
        report.paragraph(f"Its probabilities were {scored.off:.2f} from what was heard, on average, while it learnt.")
    with report.folded("how this is judged"):
        report.paragraph(
            "Clips that a strategy has chosen are not like the others: shares and scores of them would be wrong. So some "
            "clips of every batch are the next ones of a single random order of all clips. What stands here is of these "
            f"alone, {judged.clips} so far, {judged.skipped} of them skipped. The intervals are of 95 %: Wilson's of "
            "shares, the bootstrap's over recordings of macro AP."
        )


def _classes(report: Report, loop: LabelLoop, answers: Sequence[Answer], judged: Judged) -> None:
    report.heading("Classes")
    report.paragraph(
        "How often each was said, in all clips; and in what share of all clips it sounds, by the random ones."
    )
    rows = []
    for name in loop.classes:
        counts = [sum(answer.states.get(name) == state for answer in answers) for state in (PRESENT, ABSENT, UNSURE)]
        rows.append([name, *map(str, counts), shown(judged.prevalence[name])])
    report.table(["class", PRESENT, ABSENT, UNSURE, "share of all clips"], rows)


def _people(report: Report, people: Sequence[AnnotatorReport]) -> None:
    if not people:
        return
    report.heading("People")
    report.paragraph(
        "How often each agrees with what most others said, and with what they said themselves when a clip came again."
    )
    rows = [
        [
            one.name,
            str(one.votes),
            *map(_rate, (one.agreement, one.consistency)),
            "" if one.seconds is None else f"{one.seconds:.0f} s",
        ]
        for one in people
    ]
    report.table(["", "clips", "with others", "with themselves", "a clip"], rows)


def _rate(share: float | None) -> str:
    return "–" if share is None else f"{share:.2f}"


def shown(share: Interval) -> str:
    """Write a share with its interval."""
    if math.isnan(share.value):
        return "–"
    return f"{share.value:.2f}" + ("" if math.isnan(share.low) else f" ({share.low:.2f} to {share.high:.2f})")
