"""Keep what everybody says of the clips of one table: in the journals of a folder, written here or elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from oscine.models.text.words import counted
from oscine.probe.label.class_names import check_asked
from oscine.probe.label.journal import (
    Answer,
    Clip,
    Journal,
    JournalContent,
    check_kind,
    find_journals,
    journal_path,
    read_journal,
)
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.learner import Votes

logger = logging.getLogger(__name__)


class Answers:
    """The answers in the journals of one folder; not for several threads at once.

    classes   that are asked for; journals of all people take up a new one
    journals  of the people who label here
    others    what the journals hold that other processes write, as it was read last
    """

    def __init__(self, table: ClipTable, folder: Path, classes: Sequence[str], *, one_label: bool) -> None:
        """Read the journals that are there."""
        self.table, self.folder, self.one_label = table, folder, one_label
        self.classes = [*classes]
        self.journals: dict[str, Journal] = {}
        self.others: dict[str, JournalContent] = {}
        self._votes: dict[int, dict[str, Answer]] | None = None  # None where they are to be put together anew
        self.read_others()

    # ---- people

    def join(self, who: str) -> None:
        """Open somebody's journal; what they answered earlier stands."""
        journal = Journal(journal_path(self.folder, who), self.classes, one_label=self.one_label)
        self.journals[who] = journal
        self.others.pop(who, None)
        self._votes = None
        self._know_classes(journal.content)
        gone = sum(answer.clip not in self.table.numbers for answer in journal.content.answers)
        if gone:
            logger.warning(
                "%s: %s clips that are not in %s any more; they are kept, and nothing is learnt from them",
                journal.path, counted(gone, "answer is about", "answers are about"), self.table.path,
            )  # fmt: skip

    def read_others(self) -> None:
        """Read the journals that this process does not write."""
        paths = [path for path in find_journals(self.folder) if path.stem not in self.journals]
        contents = [*map(read_journal, paths)]
        for path, content in zip(paths, contents, strict=True):
            check_kind(content, path, one_label=self.one_label)
        self.others, self._votes = {content.annotator: content for content in contents}, None
        for content in contents:
            self._know_classes(content)

    def close(self) -> None:
        for journal in self.journals.values():
            journal.close()

    # ---- classes

    def add_class(self, name: str, who: str) -> None:
        """Ask for one more class from now on, whoever answers, as somebody wants."""
        if name not in self.classes:
            check_asked([name], "the new class", "give another name", self.classes)
            self._know_class(name, who)

    def take_back_class(self, who: str) -> str:
        """Ask no more for the class that somebody added last, and return it; "" where an answer came after, or has it."""
        name = self.journals[who].content.last_added
        elsewhere = any(name in content.classes for content in self.others.values())
        if not name or elsewhere or any(name in answer.marked for answer in self.all()):
            return ""
        for journal in self.journals.values():
            journal.remove_class(name)
        self.classes.remove(name)
        self._votes = None
        return name

    def _know_classes(self, content: JournalContent) -> None:
        for name in content.classes:
            self._know_class(name)

    def _know_class(self, name: str, who: str = "") -> None:
        for journal in self.journals.values():
            journal.add_class(name, own=journal.content.annotator == who)
        if name not in self.classes:
            self.classes.append(name)

    # ---- answers

    def add(self, who: str, answer: Answer) -> Answer:
        """Put an answer on disk; return it with the time of the day."""
        answer = self.journals[who].add(answer)
        if self._votes is not None:
            _note(self._votes, self.table, answer)
        return answer

    def undo(self, who: str) -> Answer | None:
        """Take somebody's last answer back, and return it; None where there is none."""
        self._votes = None
        return self.journals[who].undo()

    def mark_audit(self, judged_by: Callable[[Clip], bool]) -> None:
        """Mark the first answers here to clips that everything is judged by."""
        for journal in self.journals.values():
            for answer in [one for one in journal.content.first_answers if not one.audit and judged_by(one.clip)]:
                journal.mark_audit(answer.clip)
                self._votes = None

    def contents(self) -> list[JournalContent]:
        """Return all journals of the folder as they stand."""
        return [*(journal.content for journal in self.journals.values()), *self.others.values()]

    def all(self) -> list[Answer]:
        """Return every answer that stands."""
        return [answer for content in self.contents() for answer in content.answers]

    def votes(self) -> Votes:
        """Return what everybody said first of every clip of the table, by its number, as of this moment."""
        if self._votes is None:
            self._votes = votes_of(self.table, self.contents())
        return {**self._votes}


def votes_of(table: ClipTable, contents: Iterable[JournalContent]) -> dict[int, dict[str, Answer]]:
    """Return what everybody said first of every clip of a table, by its number."""
    votes: dict[int, dict[str, Answer]] = {}
    for content in contents:
        for answer in content.first_answers:
            _note(votes, table, answer)
    return votes


def _note(votes: dict[int, dict[str, Answer]], table: ClipTable, answer: Answer) -> None:
    number = table.numbers.get(answer.clip)
    if number is not None and not answer.again:
        votes[number] = votes.get(number, {}) | {answer.annotator: answer}
