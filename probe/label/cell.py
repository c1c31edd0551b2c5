"""Read the cell of a table in which somebody names what sounds in a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oscine.probe.label.class_names import BETWEEN, UNSURE_MARK
from oscine.probe.label.journal import PRESENT, UNSURE
from oscine.probe.tasks.class_names import means_no_class

NAMELESS = (
    "has labels that name nothing; write names with ; between them, - where nothing sounds, ? to say: cannot tell"
)


class Cell(NamedTuple):
    """What a cell says.

    states  of the classes that it names
    whole   whether the others are absent, else nobody knows of them
    """

    states: dict[str, str]
    whole: bool


def parse_cell(text: str, unsure: Sequence[str] = (UNSURE_MARK,)) -> Cell:
    """Read names with ";" between them, and "?" behind those that are unsure.

    What means that nothing sounds ("-", none, noise) names no class. unsure: what says, alone, that somebody could not tell:
    that may be any class, so that those that are not named are unknown.
    """
    states, whole = dict[str, str](), True
    for part in _parts(text):
        name = part.rstrip(UNSURE_MARK).strip()
        doubtful = part in unsure or part.endswith(UNSURE_MARK)
        if part in unsure or not name or means_no_class(name):
            whole &= not doubtful
        else:
            states[name] = UNSURE if doubtful else PRESENT
    return Cell(states, whole)


def is_nameless(text: str) -> bool:
    """Whether a cell is filled in and has no names, such as ";"."""
    return bool(text.strip()) and not _parts(text)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(BETWEEN) if part.strip()]
