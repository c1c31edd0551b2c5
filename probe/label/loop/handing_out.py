"""Hand clips out to people: each to one, or to two where opinions are to overlap; some come again to the same person."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from oscine.probe.label.journal import Answer
from oscine.probe.label.loop.audit import random_place
from oscine.probe.label.loop.batches import Chosen
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.learner import Votes
from oscine.probe.label.loop.settings import LoopSettings

APART = 10  # answers at least between a clip and the same one again, so that nobody remembers it
AWAY = 300  # seconds without a question after which others may get what somebody holds


class HandingOut:
    """Which clips wait for whom.

    waiting  clips that were chosen and that nobody has yet
    held     person to the clips that are on the screen, or fetched ahead
    asked    when that person asked for clips last, by `clock`

    Who has not asked for AWAY seconds keeps what is on the screen, and may still answer it; but others may get these clips,
    too, so that nobody who only had a look keeps clips, least of all those that are judged by.
    """

    def __init__(
        self, table: ClipTable, settings: LoopSettings, may_ask: Sequence[bool], *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.table, self.settings, self.may_ask, self.clock = table, settings, may_ask, clock
        self.absent = {number for number, may in enumerate(may_ask) if not may}
        self.waiting: list[Chosen] = []
        self.held: dict[str, list[Chosen]] = {}
        self.asked: dict[str, float] = {}

    def taken(self, votes: Votes) -> set[int]:
        """Return the clips that need not be chosen: answered by somebody, in somebody's hands, or not to be asked for."""
        in_hands = {one.number for who, held in self.held.items() if not self._is_away(who) for one in held}
        return {*votes} | in_hands | self.absent

    def fill(self, chosen: Sequence[Chosen], votes: Votes) -> None:
        """Let a new batch wait in place of what is left of the one before."""
        taken = self.taken(votes)
        self.waiting = [one for one in chosen if one.number not in taken]

    def ahead(
        self, who: str, count: int, *, votes: Votes, answers: Sequence[Answer], fallback: Callable[[], Chosen | None]
    ) -> list[Chosen]:
        """Return the next clips of somebody, the one to show first; fewer where there are no more.

        answers: of that person, as they stand. fallback: names a clip where none waits.
        """
        if who in self.held and self._is_away(who):
            taken = self.taken(votes)
            self.held[who] = [one for one in self.held[who] if one.number not in taken]
        self.asked[who] = self.clock()
        held = self.held.setdefault(who, [])
        while len(held) < count:
            one = self._again(answers, held) or self._second_opinion(who, votes) or self._next(votes) or fallback()
            if one is None:
                break
            held.append(one)
        return held[:count]

    def answered(self, who: str, number: int) -> None:
        """Take an answered clip out of somebody's hands."""
        self.held[who] = [one for one in self.held.get(who, ()) if one.number != number]

    def give_back(self, who: str, chosen: Chosen) -> None:
        """Put a clip, whose answer was taken back, first into somebody's hands."""
        self.held[who] = [chosen, *(one for one in self.held.get(who, ()) if one.number != chosen.number)]
        self.waiting = [one for one in self.waiting if one.number != chosen.number]

    def _is_away(self, who: str) -> bool:
        return self.clock() - self.asked.get(who, -math.inf) > AWAY

    def _next(self, votes: Votes) -> Chosen | None:
        while self.waiting:
            one = self.waiting.pop(0)
            if one.number not in self.taken(votes):
                return one
        return None

    def _again(self, answers: Sequence[Answer], held: Sequence[Chosen]) -> Chosen | None:
        """Return a clip that its person has answered a while ago, where the next one is due."""
        again = sum(answer.again for answer in answers)
        if int((len(answers) - again) * self.settings.again) - again <= sum(one.again for one in held):
            return None
        first = [answer for answer in answers if not answer.again]
        came = {answer.clip for answer in answers if answer.again}
        numbers = self.table.numbers
        known = [one for one in first[:-APART] if not one.skipped and one.clip not in came and one.clip in numbers]
        known = [one for one in known if self.may_ask[numbers[one.clip]]]
        if not known:
            return None
        old = known[int(np.random.default_rng([self.settings.seed, len(first)]).integers(len(known)))]
        return Chosen(numbers[old.clip], old.strategy, old.batch, again=True)

    def _second_opinion(self, who: str, votes: Votes) -> Chosen | None:
        """Return a clip of the share that two people hear, which one other person has or had; not two in a row."""
        mine = self.held.get(who, [])
        if not self.settings.overlap or (mine and self._is_second(who, mine[-1].number, votes)):
            return None
        here = {name: held for name, held in self.held.items() if name != who and not self._is_away(name)}
        others = {one.number: one for held in here.values() for one in held if not one.again}
        for number, said in votes.items():
            if number not in others and said and who not in said:
                first = next(iter(said.values()))
                others[number] = Chosen(number, first.strategy, first.batch, first.audit)
        held = {one.number for one in mine}
        for number, one in others.items():
            if number not in held and self.may_ask[number] and self._wants_second(who, number, votes):
                return one
        return None

    def _wants_second(self, who: str, number: int, votes: Votes) -> bool:
        """Whether a clip goes to two people, and this one would be the second."""
        if random_place(self.settings.seed, "overlap", self.table.clips[number]) >= self.settings.overlap:
            return False
        people = {
            *votes.get(number, {}),
            *(name for name, held in self.held.items() if any(o.number == number for o in held)),
        }
        return len(people) == 1 and who not in people

    def _is_second(self, who: str, number: int, votes: Votes) -> bool:
        return any(name != who for name in votes.get(number, {}))
