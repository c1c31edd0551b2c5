"""Write what is known now: a page, and labels that `oscine probe --table` takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from oscine.models.text.words import counted, duration
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, Answer, JournalContent
from oscine.probe.label.loop.judged import Judged, judge_audit
from oscine.probe.label.loop.loop import LabelLoop
from oscine.probe.metrics.bootstrap import Interval
from oscine.probe.report.html import Report, write_report

PAGE = "known.html"


class Known(NamedTuple):
    """What was written: the page as it is, and the files."""

    page: str
    files: list[Path]


def write_known(loop: LabelLoop, command: str) -> Known:
    """Write the page that says what is known now, beside the journals."""
    report = known_report(loop, command)
    path = loop.folder / PAGE
    write_report(report, path)
    return Known(report.html(), [path])


def known_report(loop: LabelLoop, command: str) -> Report:
    """Say what is known, the most important first: how well the probe does, how frequent classes are, who said what."""
    contents = [content for content in loop.contents() if content.answers]
    answers = [answer for content in contents for answer in content.first_answers]
    judged = judge_audit(loop.audit_answers(), loop.classes, one_label=loop.settings.one_label)
    report = Report("What is known now")
    minutes = duration(sum(answer.taken for answer in answers))
    report.paragraph(
        f"{counted(len({answer.clip for answer in answers}), 'clip')} of {len(loop.table.clips)} in {loop.table.path.name} "
        f"have an answer, by {counted(len(contents), 'person', 'people')}, in {minutes}."
    )
    _score(report, judged)
    _classes(report, loop, answers, judged)
    _people(report, contents)
    report.heading("Whether to go on")
    for line in loop.progress.lines or ["Nothing is said of this before a probe was fitted a few times."]:
        report.paragraph(line)
    report.heading("How it was made", 3)
    report.command(command)
    return report


def _score(report: Report, judged: Judged) -> None:
    report.heading("How well the probe does")
    if math.isnan(judged.score.value):
        report.paragraph(
            f"Not known yet. It is judged by clips that were drawn at random from all of them; there are {judged.clips}, "
            "and none came when there was a probe."
        )
    else:
        report.paragraph(
            f"{judged.metric} {shown(judged.score)}, by {counted(judged.scored, 'clip')} that were drawn at random from all "
            "clips and that the probe had not learnt when it was asked."
        )
    if not math.isnan(judged.off):
        report.paragraph(f"Its probabilities are {judged.off:.2f} from what was heard, on average.")
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


def _people(report: Report, contents: Sequence[JournalContent]) -> None:
    report.heading("People")
    rows = []
    for content in contents:
        first = content.first_answers
        skipped = sum(answer.skipped for answer in first)
        seconds = sum(answer.taken for answer in first) / max(len(first), 1)
        same, again = consistency(content)
        rows.append([content.annotator, str(len(first)), str(skipped), f"{seconds:.0f} s", f"{same} of {again}"])
    report.table(["", "answers", "skipped", "a clip", "the same again"], rows)


def consistency(content: JournalContent) -> tuple[int, int]:
    """Count the clips that came to a person again and got the same answer, and all that came again."""
    first = {answer.clip: answer.named(PRESENT) for answer in content.first_answers}
    again = [answer for answer in content.answers if answer.again]
    return sum(sorted(first[answer.clip]) == sorted(answer.named(PRESENT)) for answer in again), len(again)


def shown(share: Interval) -> str:
    """Write a share with its interval."""
    if math.isnan(share.value):
        return "–"
    return f"{share.value:.2f}" + ("" if math.isnan(share.low) else f" ({share.low:.2f} to {share.high:.2f})")
