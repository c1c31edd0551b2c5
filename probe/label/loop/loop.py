"""The loop: people answer, a probe learns in the background, and chooses what is asked next. Nobody waits for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import NamedTuple

import numpy as np

from oscine.models.errors import OscineError
from oscine.models.json_text import one_line
from oscine.probe.label.journal import ABSENT, Answer, JournalContent
from oscine.probe.label.loop.answers import Answers
from oscine.probe.label.loop.audit import audit_order, audited
from oscine.probe.label.loop.batches import Chosen, Knowledge, check_strategy, choose_batch
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.handing_out import HandingOut
from oscine.probe.label.loop.learner import Learnt, Votes, gather_labels, learn
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.loop.stopping import Progress
from oscine.probe.label.posterior import LastLayerLaplace

AHEAD = 4  # clips in somebody's hands: the one on the screen, and three that are fetched ahead

logger = logging.getLogger(__name__)


@dataclass
class Given:
    """What somebody said of the clip on the screen: states of classes, and how it was heard."""

    states: Mapping[str, str] = field(default_factory=dict)
    skipped: bool = False
    heard: float = 0.0
    taken: float = 0.0


class Undone(NamedTuple):
    """An answer that was taken back; its clip is on the screen again."""

    answer: Answer
    chosen: Chosen


class LabelLoop(AbstractContextManager["LabelLoop"]):
    """Asks people for clips of one table, and keeps what they say in journals in one folder.

    Several people may work at once, each with a journal; other processes may write other journals in the same folder. All
    methods may be called from several threads.
    """

    def __init__(
        self, table: ClipTable, folder: Path, classes: Sequence[str], settings: LoopSettings, recordings: Sequence[str]
    ) -> None:
        """Take up what was answered before. recordings: those that are there, whose clips may be asked for."""
        check_strategy(settings.strategy)
        self.table, self.folder, self.settings = table, folder, settings
        self.answers = Answers(table, folder, classes, one_label=settings.one_label)
        self.classes, self.journals = self.answers.classes, self.answers.journals  # the same, by a shorter name
        there = {*recordings}
        self.may_ask = [clip.recording in there for clip in table.clips]
        self.order = audit_order(table, settings.seed)
        self.rank = np.argsort(self.order)  # of a clip in that order
        self.handing_out = HandingOut(table, settings, self.may_ask)
        self.learnt: Learnt | None = None
        self.posterior: LastLayerLaplace | None = None
        self.progress = Progress(table, settings)
        self.notice = ""
        self.changed = Condition()  # its lock guards everything here
        self.writing = Lock()  # held by who writes what is known
        self.stopped = False
        self.since = 0  # answers since the last batch was chosen
        self.unlearn = False  # whether an answer was taken back that the probe has learnt
        self.failed = False  # whether the strategy could not choose
        self.choosing = False  # whether a batch is being chosen
        self.predicted: dict[tuple[str, int], dict[str, float]] = {}  # of answers that were taken back, by who and clip
        self.batch = 1 + max((answer.batch for answer in self.answers.all()), default=-1)
        self.worker = Thread(target=self._work, name="choosing clips", daemon=True)
        self.worker.start()

    # ---- people

    def join(self, who: str) -> None:
        """Open somebody's journal, unless it is open; what they answered earlier stands."""
        with self.changed:
            if who not in self.journals:
                self.answers.join(who)
                self._wake()

    def add_class(self, name: str, who: str) -> None:
        """Ask for one more class from now on, whoever answers, as somebody wants."""
        with self.changed:
            self.answers.add_class(name.strip(), who)

    def take_back_class(self, who: str) -> str:
        """Ask no more for the class that somebody added last, and return it; "" where an answer came after, or has it."""
        with self.changed:
            name = self.answers.take_back_class(who)
            if name:
                self.unlearn = True
                self._wake()
            return name

    def ahead(self, who: str) -> list[Chosen]:
        """Return the clip to show somebody, and those that follow."""
        with self.changed:
            votes, own = self.votes(), self.journals[who].content.answers
            held = self.handing_out.ahead(who, AHEAD, votes=votes, answers=own, fallback=lambda: self._at_random(votes))
            self._wake()
            return held

    def answer(self, who: str, number: int, given: Given) -> Answer:
        """Put an answer on disk, and learn from it at once; then the clip is out of that person's hands."""
        with self.changed:
            chosen = next((one for one in self.handing_out.held.get(who, ()) if one.number == number), None)
            if chosen is None:
                raise OscineError(
                    "this clip was answered in another window; the next one is shown, and undo takes answers back"
                )
            answer = self.answers.add(who, self._as_answer(who, chosen, given))
            self.handing_out.answered(who, number)
            if not answer.again:
                self.since += 1
                self._take_in([answer])
            self._wake()
            return answer

    def undo(self, who: str) -> Undone | None:
        """Take somebody's last answer back, which is then on their screen again; None where there is none."""
        with self.changed:
            answer = self.answers.undo(who)
            if answer is None:
                return None
            number = self.table.numbers.get(answer.clip)
            if number is None or not self.may_ask[number]:
                raise OscineError(
                    f"the answer to {answer.clip} was taken back; that clip is not in {self.table.path} any more"
                )
            chosen = Chosen(number, answer.strategy, answer.batch, answer.audit, answer.again)
            self.handing_out.give_back(who, chosen)
            if not answer.again:
                self.predicted[who, number] = answer.predicted  # the probe has learnt the answer by now
                self.unlearn = True
                self._wake()
            return Undone(answer, chosen)

    def _as_answer(self, who: str, chosen: Chosen, given: Given) -> Answer:
        if unknown := next((name for name in given.states if name not in self.classes), None):
            raise OscineError(f"no class {unknown!r}; add it first")
        states = {} if given.skipped else dict.fromkeys(self.classes, ABSENT) | dict(given.states)
        if self.settings.one_label and sum(state != ABSENT for state in states.values()) > 1:
            raise OscineError("a clip has one class here; choose one of them")
        return Answer(
            self.table.clips[chosen.number], who, states,
            heard=round(given.heard, 2), taken=round(given.taken, 2),
            strategy=chosen.strategy, batch=chosen.batch, seed=self.settings.seed, audit=chosen.audit, again=chosen.again,
            predicted={} if chosen.again else self._predict(who, chosen.number),
            probe=self.learnt.fingerprint if self.learnt else "", table=self.table.fingerprint,
        )  # fmt: skip

    def _predict(self, who: str, number: int) -> dict[str, float]:
        """Return what is thought of a clip by who has not learnt this person's answer to it."""
        if (who, number) in self.predicted:
            return self.predicted.pop((who, number))
        return {name: round(p, 4) for name, p in self.thinks(number).items()}

    # ---- what is known

    def thinks(self, number: int) -> dict[str, float]:
        """Return the probability of every class in a clip, as of the last answer; nothing before there is a probe."""
        with self.changed:
            if self.learnt is None or self.posterior is None:
                return {}
            shares = self.posterior.probabilities(self.table.rows[[number]])[0]
            return dict(zip(self.learnt.classes, map(float, shares)))

    def votes(self) -> Votes:
        """Return what everybody said first of every clip of the table, by its number."""
        with self.changed:
            return self.answers.votes()

    def contents(self) -> list[JournalContent]:
        """Return all journals of the folder as they stand."""
        with self.changed:
            return self.answers.contents()

    def audit(self) -> list[int]:
        """Return the clips that everything is judged by, so far."""
        with self.changed:
            return audited(self.order, self.votes(), self.handing_out.absent)

    # ---- learning, in the background

    def _wake(self) -> None:
        self.changed.notify_all()

    def _due(self) -> bool:
        """Whether a batch is to be chosen: enough was answered, what was learnt is not so any more, or no clip waits."""
        if self.unlearn or self.since >= self.settings.batch:
            return True
        out = not self.handing_out.waiting and not self.failed
        return out and len(self.handing_out.taken(self.votes())) < len(self.table.clips)

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.stopped or (bool(self.journals) and self._due()))
                if self.stopped:
                    return
                self.choosing = True
            try:
                self.next_batch()
            except Exception as error:  # such as a full disk: people go on, and nobody waits for a thread that died
                self._say_failed(error)
            finally:
                with self.changed:
                    self.choosing = False
                    self._wake()

    def _say_failed(self, error: Exception) -> None:
        logger.warning(
            "the next clips were not chosen: %s", one_line(error), exc_info=not isinstance(error, OscineError)
        )
        with self.changed:
            self.notice = f"The next clips were not chosen ({one_line(error)}); they come at random until that works."
            self.failed = True

    def wait(self) -> None:
        """Wait until everything that was answered is learnt, and the next clips are chosen."""
        with self.changed:
            self.changed.wait_for(lambda: not self.choosing and not self._due())

    def next_batch(self) -> None:
        """Fit the probe anew to all answers, and choose the next clips by it; people go on meanwhile."""
        with self.changed:
            try:
                self.answers.read_others()
            except OscineError as error:  # somebody has changed a file that others write
                logger.warning("%s; what was read of it before still counts", error)
            votes, classes, batch = self.votes(), [*self.classes], self.batch
            taken = self.handing_out.taken(votes)
            self.since, self.unlearn = 0, False
        labels = gather_labels(votes, classes, one_label=self.settings.one_label)
        learnt = learn(self.table.rows[labels.clips], labels, classes)
        knowledge = Knowledge(
            labels, learnt, [number for number in range(len(self.table.clips)) if number not in taken]
        )
        chosen, notice = self._choose(knowledge, batch)
        with self.changed:
            self.learnt, self.posterior = learnt, learnt.posterior if learnt else None
            self._take_in([answer for answer in self.answers.all() if self._is_new(answer, votes)])
            self.handing_out.fill(chosen, self.votes())
            self.batch += bool(chosen)
            self.notice, self.failed = notice, bool(notice)
            self._mark_audit(chosen)
            self.progress.add(learnt, labels, self.audit_answers())

    def learn_all(self) -> Learnt | None:
        """Fit a probe to all answers; None where they leave nothing to tell apart."""
        with self.changed:
            votes, classes = self.votes(), [*self.classes]
        labels = gather_labels(votes, classes, one_label=self.settings.one_label)
        return learn(self.table.rows[labels.clips], labels, classes)

    def _choose(self, knowledge: Knowledge, batch: int) -> tuple[list[Chosen], str]:
        """Choose a batch; where a strategy cannot, which may be a plugin, say so: clips then come at random."""
        try:
            return choose_batch(self.table, knowledge, self.settings, order=self.order, batch=batch), ""
        except Exception as error:
            notice = f"{self.settings.strategy or 'the strategy'} could not choose ({one_line(error)})"
            logger.warning("%s; clips are asked for at random", notice, exc_info=not isinstance(error, OscineError))
            return [], f"{notice}; clips come at random until the next batch."

    def _is_new(self, answer: Answer, votes: Votes) -> bool:
        """Whether an answer came after those that a fit has learnt."""
        number = self.table.numbers.get(answer.clip)
        return number is not None and not answer.again and answer.annotator not in votes.get(number, {})

    def _take_in(self, answers: Sequence[Answer]) -> None:
        """Update the posterior with answers, in closed form."""
        if self.learnt is None or self.posterior is None:
            return
        votes = {self.table.numbers[answer.clip]: {answer.annotator: answer} for answer in answers}
        labels = gather_labels(votes, self.learnt.classes, one_label=self.settings.one_label)
        if len(labels.clips):
            given = labels.numbers if self.settings.one_label else labels.targets
            self.posterior = self.posterior.updated(self.table.rows[labels.clips], given)

    def _mark_audit(self, chosen: Sequence[Chosen]) -> None:
        """Mark what was answered already and stands before the audit clips of a batch in their order: it costs nothing."""
        reached = max((self.rank[one.number] for one in chosen if one.audit), default=-1)
        numbers = self.table.numbers
        self.answers.mark_audit(lambda clip: clip in numbers and self.rank[numbers[clip]] < reached)

    def audit_answers(self) -> list[Answer]:
        """Return the first answer to every clip that is judged by."""
        with self.changed:
            votes = self.votes()
            return [min(votes[number].values(), key=lambda answer: answer.time) for number in self.audit()]

    def _at_random(self, votes: Votes) -> Chosen | None:
        """Name a clip where none waits: the next one of the random order, so that it counts as one to judge by."""
        taken = self.handing_out.taken(votes)
        number = next((int(number) for number in self.order if int(number) not in taken), None)
        return None if number is None else Chosen(number, "random", self.batch, audit=True)

    def close(self) -> None:
        """Stop choosing, and let go of the journals."""
        with self.changed:
            self.stopped = True
            self._wake()
        self.worker.join()
        self.answers.close()

    def __exit__(self, *_: object) -> None:
        self.close()
