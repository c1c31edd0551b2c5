"""Read a queue back that somebody has filled in, into that person's journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from oscine.models.errors import OscineError
from oscine.probe.label.class_names import check_asked
from oscine.probe.label.journal import ABSENT, Answer, Journal, JournalContent, check_kind, journal_path
from oscine.probe.label.loop.answers import votes_of
from oscine.probe.label.loop.audit import audit_order, audited
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.learner import Learnt, gather_labels, learn
from oscine.probe.label.queue.filled_files import Filled, read_files
from oscine.probe.label.queue.queue import classes_of, read_labels
from oscine.probe.tasks.class_names import check_named


class ReadQueue(NamedTuple):
    """What came of a file: answers that were taken, rows that are not filled in, and clips that had an answer before."""

    taken: int
    empty: int
    before: int


@dataclass(frozen=True)
class FilledSettings:
    """What filled-in queues are about.

    table       of embeddings, as `read_clips` reads it
    recordings  the folder that was embedded, which Raven and Audacity files need
    labels      folder of the journals; who: whose journal the answers join
    classes     all that there are; by default those that are named
    """

    table: ClipTable
    labels: Path
    who: str
    recordings: Path | None = None
    classes: Sequence[str] = ()
    one_label: bool = False
    seed: int = 0


def read_filled(paths: Sequence[Path], settings: FilledSettings) -> ReadQueue:
    """Read filled-in queues into a journal; what is already in it stays as it is.

    Nothing is written where a row is refused. Every answer is kept beside what a probe says of its clip that had learnt the
    answers in the folder and none of these, so that audit clips can be judged by it.
    """
    rows = [row for path in paths for row in read_files(path, settings.table, settings.recordings)]
    contents = read_labels(settings.labels)
    answered = [row for row in rows if row.text]
    classes = _check(answered, contents, settings)
    if not classes:
        raise OscineError(f"no clip of {paths[0]} has a label; fill in the column labels, names with ; between them")
    learnt = _learnt(contents, classes, settings)
    taken = before = 0
    with Journal(journal_path(settings.labels, settings.who), classes, one_label=settings.one_label) as journal:
        done = {answer.clip for answer in journal.content.answers}
        for row in answered:
            if row.clip in done:
                before += 1
                continue
            journal.add(_answer(row, journal.content.classes, learnt, settings))
            done.add(row.clip)
            taken += 1
        _mark_audit(journal, settings)
    return ReadQueue(taken, len(rows) - len(answered), before)


def _check(answered: Sequence[Filled], contents: list[JournalContent], settings: FilledSettings) -> list[str]:
    """Return all classes; raise where a row names one that there is not, or cannot be, or several where a clip has one."""
    for content in contents:
        check_kind(content, journal_path(settings.labels, content.annotator), one_label=settings.one_label)
    there = list(dict.fromkeys([*settings.classes, *classes_of(contents)]))
    named = list[str]()
    for row in answered:
        if settings.classes:
            check_named(row.states, there, f"{row.place}: {settings.who}")
        if settings.one_label and sum(state != ABSENT for state in row.states.values()) > 1:
            raise OscineError(f"{row.place}: {row.clip} has several classes, {row.text!r}, expected one")
        if new := [name for name in row.states if name not in [*there, *named]]:
            check_asked(new, row.place, "write it otherwise", [*there, *named])
            named += new
    return there + sorted(named)


def _learnt(contents: list[JournalContent], classes: Sequence[str], settings: FilledSettings) -> Learnt | None:
    """Fit a probe to all answers that there are so far."""
    labels = gather_labels(votes_of(settings.table, contents), classes, one_label=settings.one_label)
    return learn(settings.table.rows[labels.clips], labels, classes)


def _answer(row: Filled, classes: Sequence[str], learnt: Learnt | None, settings: FilledSettings) -> Answer:
    table, predicted = settings.table, dict[str, float]()
    if learnt:
        shares = learnt.probabilities(table.rows[[table.numbers[row.clip]]])[0]
        predicted = dict(zip(learnt.classes, (round(float(share), 4) for share in shares)))
    return Answer(
        row.clip, settings.who, dict.fromkeys(classes if row.whole else (), ABSENT) | row.states,
        strategy=row.strategy, batch=row.batch, seed=settings.seed,
        predicted=predicted, probe=learnt.fingerprint if learnt else "", table=table.fingerprint,
    )  # fmt: skip


def _mark_audit(journal: Journal, settings: FilledSettings) -> None:
    """Mark the answers that stand without a gap at the beginning of the random order of all clips."""
    votes = votes_of(settings.table, read_labels(settings.labels))
    for number in audited(audit_order(settings.table, settings.seed), votes):
        journal.mark_audit(settings.table.clips[number])
