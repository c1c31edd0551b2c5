"""The settings of the loop, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from oscine.models.errors import Misuse


@dataclass(frozen=True)
class LoopSettings:
    """How clips are chosen and handed out.

    one_label  a clip has exactly one class
    strategy   that chooses; "" for the one that is best for the kind of task
    batch      clips that are chosen at a time; after as many answers the probe is fitted anew
    seed       of everything that is drawn
    audit      share of every batch that is drawn at random, to be judged by
    again      share of clips that come again to the same person
    overlap    share of clips that go to two people
    """

    one_label: bool = False
    strategy: str = ""
    batch: int = 10
    seed: int = 0
    audit: float = 0.1
    again: float = 0.05
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise Misuse(f"a batch of {self.batch} clips, expected 1 or more")
        for name in ("audit", "again", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise Misuse(f"{name} is {getattr(self, name):g}, expected a share from 0 to 1")
