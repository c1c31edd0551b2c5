"""Put what several people said, each clip by clip, into one table of clips and annotators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from pandas import DataFrame

from oscine.models.errors import OscineError
from oscine.probe.label.journal import ABSENT, PRESENT
from oscine.probe.label.votes.shares import NOBODY
from oscine.probe.label.votes.votes import Votes
from oscine.probe.tasks.class_names import check_named, check_names, listed

ROUNDED = 3  # digits of a second by which two stretches are the same clip


@dataclass(frozen=True)
class Vote:
    """What one person said of one clip.

    path     of the recording, absolute; start, end: of the stretch in seconds, NaN of a whole file
    states   class to PRESENT, ABSENT or UNSURE; closed: whether the classes that are not named are absent
    points   class to points, where the person spread some
    seconds  that the answer took, NaN where nobody measured it
    audit    whether the clip was drawn from all clips alike
    source   where it was read, for errors
    """

    path: str
    start: float
    end: float
    annotator: str
    states: dict[str, str]
    closed: bool = False
    points: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    audit: bool = False
    source: str = ""

    @property
    def clip(self) -> tuple[str, float | None, float | None]:
        """What the same clip has in common, wherever it is named."""
        start, end = (None if math.isnan(second) else round(second, ROUNDED) for second in (self.start, self.end))
        return self.path, start, end

    @property
    def present(self) -> list[str]:
        """The classes that are said to sound."""
        return [name for name, state in self.states.items() if state == PRESENT]


class VoteSource(NamedTuple):
    """What one file holds.

    one_label: whether a clip has exactly one class; classes: those that were asked for.
    """

    name: str
    votes: list[Vote]
    one_label: bool
    classes: list[str]


def gather(sources: Sequence[VoteSource], classes: Sequence[str] | None = None, without: Sequence[str] = ()) -> Votes:
    """Put votes of several sources into one table.

    classes: all that there may be; by default those of the sources. without: of these, what is left out of the table.
    Where somebody answers for the same clip again, the first answer counts, and both say how consistent they are.
    """
    votes = [vote for source in sources for vote in source.votes]
    if not votes:
        raise OscineError(
            f"nobody has said anything in {', '.join(source.name for source in sources)}; label some clips"
        )
    one_label = _one_label(sources)
    known = [name for name in _known_classes(sources, classes, without) if name not in without]
    firsts: dict[tuple[object, str], Vote] = {}
    repeats: dict[str, tuple[int, int]] = {}
    for vote in votes:
        first = firsts.setdefault((vote.clip, vote.annotator), vote)
        if first is not vote:
            again, same = repeats.get(vote.annotator, (0, 0))
            repeats[vote.annotator] = again + 1, same + ({*first.present} == {*vote.present})
    people = sorted({vote.annotator for vote in votes})
    clips = sorted({vote.clip for vote in votes}, key=_clip_order)
    return _fill(firsts.values(), clips, people, classes=known, one_label=one_label, repeats=repeats)


def _clip_order(clip: tuple[str, float | None, float | None]) -> tuple[str, float, float]:
    path, *times = clip
    start, end = (-1.0 if second is None else second for second in times)
    return path, start, end


def _one_label(sources: Sequence[VoteSource]) -> bool:
    kinds = {source.one_label: source.name for source in sources}
    if len(kinds) > 1:
        raise OscineError(f"{kinds[True]} has one class a clip, {kinds[False]} any number; combine files of one kind")
    return sources[0].one_label


def _known_classes(sources: Sequence[VoteSource], classes: Sequence[str] | None, without: Sequence[str]) -> list[str]:
    """Return the classes, sorted; raise where somebody named another."""
    named = Counter(name for source in sources for vote in source.votes for name in {*vote.states, *vote.points})
    if classes is None:
        known = sorted({*named, *(name for source in sources for name in source.classes)})
        check_names({name: named[name] for name in known}, "the votes")
    else:
        known = sorted(classes)
        for vote in (vote for source in sources for vote in source.votes):
            check_named({**vote.states, **vote.points}, known, f"{vote.source}: {vote.annotator}")
    if strangers := [name for name in without if name not in known]:
        raise OscineError(f"--without names {strangers[0]}, which is no class of the votes; they have {listed(known)}")
    if not {*known} - {*without}:
        raise OscineError("the votes name no class that is left; name classes with --classes")
    return known


def _fill(
    votes: Iterable[Vote],
    clips: Sequence[tuple[str, float | None, float | None]],
    people: list[str],
    *,
    classes: list[str],
    one_label: bool,
    repeats: dict[str, tuple[int, int]],
) -> Votes:
    """Fill the arrays of `Votes`."""
    row, column = {clip: number for number, clip in enumerate(clips)}, {name: n for n, name in enumerate(people)}
    shape = (len(clips), len(people))
    said = np.full(shape if one_label else (*shape, len(classes)), NOBODY)
    points = np.full((*shape, len(classes)), -1.0)
    seconds, audit = np.full(shape, np.nan), np.zeros(len(clips), bool)
    for vote in votes:
        place = row[vote.clip], column[vote.annotator]
        said[place] = _one(vote, classes) if one_label else _several(vote, classes)
        if vote.points:
            points[place] = [vote.points.get(name, 0.0) for name in classes]
        seconds[place] = vote.seconds
        audit[place[0]] |= vote.audit
    table = DataFrame(clips, columns=["path", "start", "end"])
    table[["start", "end"]] = table[["start", "end"]].astype(float)
    given = points if (points >= 0).any() else None
    return Votes(table, people, classes, said, seconds, audit, given, repeats)


def _one(vote: Vote, classes: Sequence[str]) -> int:
    """Return the class number that a person named, or gave most points.

    `NOBODY` of one who could not tell.
    """
    named = [name for name in vote.present if name in classes]
    if vote.points:
        named = [max(classes, key=lambda name: vote.points.get(name, 0.0))]
    if len(named) > 1:
        raise OscineError(
            f"{vote.source}: {vote.annotator} named {' and '.join(named)} where a clip has one class; keep one"
        )
    return classes.index(named[0]) if named else NOBODY


def _several(vote: Vote, classes: Sequence[str]) -> list[int]:
    """Return 1 and 0 for what is present and absent.

    `NOBODY` for what was not asked, or not to be told.
    """
    others = ABSENT if vote.closed else None
    number = {PRESENT: 1, ABSENT: 0}
    return [number.get(vote.states.get(name, others) or "", NOBODY) for name in classes]
